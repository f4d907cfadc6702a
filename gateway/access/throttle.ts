// Counts wrong attempts by address, and by name from an address, and says when none is to be looked at for a while.
// Bounded: when full, the oldest entry is forgotten. Judges no credentials.
import { isIPv6 } from 'node:net';
import type { AccessConfig } from './config.ts';

interface Entry {
  wrong: number;
  /** ms, as the clock says: from then on it counts anew. */
  untilMs: number;
}

export class Throttle {
  readonly #clock: () => number;
  readonly #entries = new Map<string, Entry>();
  #config: AccessConfig['throttle'];

  /** `clock`: monotonic ms. */
  constructor(config: AccessConfig['throttle'], clock: () => number) {
    this.#config = config;
    this.#clock = clock;
  }

  set config(config: AccessConfig['throttle']) {
    this.#config = config;
  }

  get entries(): number {
    return this.#entries.size;
  }

  /** Ms until attempts are looked at again; 0: now. Null: of no name in particular. */
  waitMs(address: string | undefined, name: string | null): number {
    const { attempts, attemptsPerAddress } = this.#config;
    const place = placeOf(address);
    if (name === null) return this.#wait(place, attemptsPerAddress);
    return Math.max(this.#wait(`${place} ${name}`, attempts), this.#wait(place, attemptsPerAddress));
  }

  wrong(address: string | undefined, name: string | null): void {
    const place = placeOf(address);
    if (name !== null) this.#count(`${place} ${name}`);
    this.#count(place);
  }

  /** A right one under the same name: what went wrong before was a mistake. */
  right(address: string | undefined, name: string): void {
    this.#entries.delete(`${placeOf(address)} ${name}`);
  }

  #wait(key: string, most: number): number {
    const entry = this.#entries.get(key);
    if (entry === undefined) return 0;
    const left = entry.untilMs - this.#clock();
    if (left <= 0) {
      this.#entries.delete(key);
      return 0;
    }
    return entry.wrong >= most ? left : 0;
  }

  #count(key: string): void {
    const nowMs = this.#clock();
    const known = this.#entries.get(key);
    const wrong = known !== undefined && known.untilMs > nowMs ? known.wrong + 1 : 1;
    this.#entries.delete(key);
    this.#entries.set(key, { wrong, untilMs: nowMs + this.#config.windowMs });
    if (this.#entries.size <= this.#config.maxEntries) return;
    const oldest = this.#entries.keys().next().value;
    if (oldest !== undefined) this.#entries.delete(oldest);
  }
}

/** One IPv6 customer has a whole /64, so that is one place. */
function placeOf(address = ''): string {
  if (address.startsWith('::ffff:')) return address.slice('::ffff:'.length);
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('%', 1)[0]!.split('::', 2);
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array<string>(8 - left.length - right.length).fill('0');
  return [...left, ...zeros, ...right].slice(0, 4).join(':');
}
