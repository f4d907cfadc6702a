// What an authority serves at this moment: which gateways, their mirrors, who may submit. Takes another configuration while it
// runs; what needs a new start is named and left as it is. Cosigns nothing.
import { BlockList, isIPv6 } from 'node:net';
import type { AuthorityConfig } from './config.ts';
import { originHash } from './evidence-files.ts';
import { type ServedGateway, servedGateways } from './gateways.ts';
import { Mirror } from './mirror.ts';
import type { AuthorityLogger } from './server.ts';
import type { StoredHead } from './store.ts';

/** Taken by use(), the certificate by whoever holds it; all other settings are those of the start. */
const TAKEN: ReadonlySet<string> = new Set<keyof AuthorityConfig>(['gateways', 'allow']);

/** TLS is switched on or off at a start only; its files may be others. */
const isTaken = (key: keyof AuthorityConfig, before: AuthorityConfig, after: AuthorityConfig): boolean =>
  TAKEN.has(key) || (key === 'tls' && (before.tls === undefined) === (after.tls === undefined));

export class Served {
  readonly #started: AuthorityConfig;
  readonly #logger: AuthorityLogger;
  #gateways: ReadonlyMap<string, ServedGateway> = new Map();
  #byHash: ReadonlyMap<string, string> = new Map();
  #mirrors: ReadonlyMap<string, { readonly url: string; readonly mirror: Mirror }> = new Map();
  #mayCall: (address: string) => boolean = () => false;

  constructor(config: AuthorityConfig, logger: AuthorityLogger) {
    this.#started = config;
    this.#logger = logger;
  }

  get gateways(): ReadonlyMap<string, ServedGateway> {
    return this.#gateways;
  }

  /** By origin. */
  get mirrors(): ReadonlyMap<string, { readonly mirror: Mirror }> {
    return this.#mirrors;
  }

  mirrorOf(origin: string): Mirror | null {
    return this.#mirrors.get(origin)?.mirror ?? null;
  }

  /** The origin whose hash stands in a path. */
  originOf(hash: string): string | null {
    return this.#byHash.get(hash) ?? null;
  }

  mayCall(address: string): boolean {
    return this.#mayCall(address);
  }

  /**
   * Takes the gateways and the access list of a configuration, also while requests are answered: each of them is decided by
   * the one or the other. Gives back the settings that differ and wait for a new start.
   */
  use(config: AuthorityConfig, newest: (origin: string) => StoredHead | null): string[] {
    this.#gateways = servedGateways(config);
    this.#byHash = new Map([...this.#gateways.keys()].map((origin) => [originHash(origin), origin]));
    this.#mayCall = accessList(config.allow);
    const before = this.#mirrors;
    this.#mirrors = new Map(
      [...this.#gateways.values()].flatMap(({ origin, mirror: url }) => {
        if (url === null) return [];
        const known = before.get(origin);
        return [[origin, known?.url === url ? known : { url, mirror: this.#mirror(origin, url) }] as const];
      }),
    );
    for (const [origin, { mirror }] of before) if (this.mirrorOf(origin) !== mirror) void mirror.close();
    for (const [origin, { mirror }] of this.#mirrors) {
      const head = newest(origin);
      if (head && before.get(origin)?.mirror !== mirror) mirror.follow(head);
    }
    const keys = Object.keys(config) as (keyof AuthorityConfig)[];
    return keys.filter(
      (key) =>
        !isTaken(key, this.#started, config) &&
        JSON.stringify(config[key]) !== JSON.stringify(this.#started[key]),
    );
  }

  async close(): Promise<void> {
    await Promise.all([...this.#mirrors.values()].map(({ mirror }) => mirror.close()));
  }

  #mirror(origin: string, url: string): Mirror {
    const { dataDir, mirrorMaxBlocks: maxBlocks } = this.#started;
    return new Mirror({ origin, url, dataDir, maxBlocks, logger: this.#logger });
  }
}

function accessList(networks: readonly string[]): (address: string) => boolean {
  if (networks.length === 0) return () => true;
  const list = new BlockList();
  for (const network of networks) {
    const [address, bits] = network.split('/') as [string, string | undefined];
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    list.addSubnet(address, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family);
  }
  // An IPv4 caller on a dual-stack socket is ::ffff:a.b.c.d; BlockList knows that form.
  return (address) => list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}
