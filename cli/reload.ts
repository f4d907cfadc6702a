// Puts a changed configuration in force while the gateway runs: what can be, without losing a record or a connection; the
// rest is named and waits for a restart. One at a time. A file that can't be used changes nothing.
import type { Act } from '../gateway/access/acts.ts';
import type { Applied } from '../gateway/api/routes/admin.ts';
import type { GatewayConfig } from './config/schema.ts';

/** One part of the gateway that can take a new configuration. */
export interface Reloadable {
  /** Keys it takes, dotted; everything below them too. */
  readonly keys: readonly string[];
  /** Keys below those that it takes only at a start. */
  readonly except?: readonly string[];
  /** Says by throwing that it can't be used; changes nothing yet. */
  check?(config: GatewayConfig): void;
  apply(config: GatewayConfig): void | Promise<void>;
  /** Asked on every reload, also without a changed key: files it names may have changed. What it took, for people. */
  refresh?(config: GatewayConfig): readonly string[];
}

export interface ReloaderOptions {
  readonly inForce: GatewayConfig;
  /** @throws ConfigError */
  readonly load: () => GatewayConfig;
  readonly parts: readonly Reloadable[];
  readonly record: (acts: readonly Act[]) => Promise<void>;
}

export class Reloader {
  readonly #options: ReloaderOptions;
  /** What the parts have in force: a key that waits for a restart stays as it was. */
  #inForce: GatewayConfig;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#inForce = options.inForce;
  }

  /** @throws ConfigError, TlsError …: nothing has changed then */
  apply(by: string): Promise<Applied> {
    const done = this.#last.then(() => this.#apply(by));
    this.#last = done.catch(() => {});
    return done;
  }

  async #apply(by: string): Promise<Applied> {
    const { load, parts, record } = this.#options;
    const next = load();
    const changed = changedKeys(this.#inForce, next);
    const takenBy = (key: string) => parts.find((part) => takes(part, key));
    const applied = changed.filter((key) => takenBy(key) !== undefined);
    const restart = changed.filter((key) => takenBy(key) === undefined);
    for (const part of parts) part.check?.(next);
    await record([{ act: 'configuration-applied', by, applied, restart }]);
    for (const part of parts) {
      if (applied.some((key) => takenBy(key) === part)) await part.apply(next);
    }
    const refreshed = parts.flatMap((part) => part.refresh?.(next) ?? []);
    this.#inForce = withKeys(this.#inForce, next, applied);
    return { applied: [...applied, ...refreshed], restart };
  }
}

const isBelow = (key: string, keys: readonly string[] = []) =>
  keys.some((above) => key === above || key.startsWith(`${above}.`));

const takes = ({ keys, except }: Reloadable, key: string) => isBelow(key, keys) && !isBelow(key, except);

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Dotted keys whose values differ; a list is one value. */
export function changedKeys(before: unknown, after: unknown, path: readonly string[] = []): string[] {
  if (!isMap(before) || !isMap(after))
    return JSON.stringify(before) === JSON.stringify(after) ? [] : [path.join('.')];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) => changedKeys(before[key], after[key], [...path, key]));
}

/** `config` with the values that `from` has at `keys`. */
function withKeys(config: GatewayConfig, from: GatewayConfig, keys: readonly string[]): GatewayConfig {
  const copy = structuredClone(config) as Record<string, unknown>;
  for (const key of keys) {
    const path = key.split('.');
    let to = copy;
    let source: unknown = from;
    for (const part of path.slice(0, -1)) {
      to[part] ??= {};
      to = to[part] as Record<string, unknown>;
      source = isMap(source) ? source[part] : undefined;
    }
    const last = path.at(-1)!;
    const value = isMap(source) ? source[last] : undefined;
    if (value === undefined) delete to[last];
    else to[last] = structuredClone(value);
  }
  return copy as GatewayConfig;
}
