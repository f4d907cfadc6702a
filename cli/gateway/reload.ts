// Puts a changed configuration in force while the gateway runs: what can be, without losing a record or a connection; the
// rest is named and waits for a restart. One at a time. A file that can't be used changes nothing.
import type { Act } from '../../gateway/access/acts.ts';
import type { Applied } from '../../gateway/api/routes/admin.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { CommandError, EXIT } from '../errors.ts';

/** One part of the gateway that can take a new configuration. */
export interface Reloadable {
  /** Keys it takes, dotted; everything below them too. */
  readonly keys: readonly string[];
  /** Keys below those that it takes only at a start. */
  readonly except?: readonly string[];
  /**
   * Asked on every reload, before anything changes: says by throwing that `config` can't be used, or names what it would
   * take anew though no key has changed (a file with other contents).
   */
  check?(config: GatewayConfig): readonly string[];
  /** `config` has the changed keys of all parts; those that wait for a restart are as they were. */
  apply(config: GatewayConfig): void | Promise<void>;
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

  /** @throws CommandError with what speaks against it: nothing has changed then */
  apply(by: string): Promise<Applied> {
    const done = this.#last.then(() => this.#apply(by));
    this.#last = done.catch(() => {});
    return done;
  }

  async #apply(by: string): Promise<Applied> {
    const { load, parts, record } = this.#options;
    const wanted = usable(load);
    const changed = changedKeys(this.#inForce, wanted);
    const isTaken = (key: string) => parts.some((part) => takes(part, key));
    const keys = changed.filter(isTaken);
    const restart = changed.filter((key) => !isTaken(key));
    const next = withKeys(this.#inForce, wanted, keys);
    const fresh = usable(() => parts.map((part) => part.check?.(next) ?? []));
    const applied = [...keys, ...fresh.flat()];
    await record([{ act: 'configuration-applied', by, applied, restart }]);
    for (const [at, part] of parts.entries()) {
      if (fresh[at]!.length > 0 || keys.some((key) => takes(part, key))) await part.apply(next);
    }
    this.#inForce = next;
    return { applied, restart };
  }
}

/** Whatever speaks against a configuration is said as one kind of error. */
function usable<T>(look: () => T): T {
  try {
    return look();
  } catch (error) {
    if (error instanceof CommandError || !(error instanceof Error) || !('code' in error)) throw error;
    const { hint } = error as { hint?: unknown };
    throw new CommandError(EXIT.usage, error.message, {
      ...(typeof hint === 'string' ? { hint } : {}),
      cause: error,
    });
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
