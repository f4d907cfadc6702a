// Owns keeping the key indexes up with the log, in the thread of chores: closed segments that lack one, and the one being
// written as it grows. Reads files only, and takes at most two thirds of a core; never delays an append.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Again } from '../threads/again.ts';
import type { ChoreLink, Chores } from '../threads/chores.ts';
import type { LogFs } from './fs.ts';
import { type AdvanceOptions, hasKeyIndex, SegmentIndexing } from './key-index-build.ts';
import { isSoundKeyIndex } from './key-index-file.ts';
import { listSegments, segmentFile } from './layout.ts';
import { DurableEnd } from './signal.ts';

export interface KeyIndexerInit {
  readonly dataDir: string;
  readonly durableEnd: SharedArrayBuffer;
}

/** How often the log is looked at. */
const LOOK_EVERY_MS = 1000;
/** How often indexes that are there are looked into again: their segment may have been replaced. */
const CHECK_EVERY_LOOKS = 60;
/** A segment that cannot be indexed is tried again after a second, then after two, and so on up to this. */
const MAX_BACKOFF_MS = 3_600_000;

/** Runs until `signal` is aborted. */
export async function keepKeyIndexes(
  fs: LogFs,
  folder: string,
  durableEnd: SharedArrayBuffer,
  signal: AbortSignal,
  onProblem: (problem: string) => void = () => {},
): Promise<void> {
  const end = new DurableEnd(durableEnd);
  const keeper = new Keeper(fs, folder, signal, onProblem);
  while (!signal.aborted) {
    await keeper.look(end.get()).catch((error: Error) => onProblem(error.message));
    // Not woken by the log: nothing here is in a hurry.
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

class Keeper {
  readonly #fs: LogFs;
  readonly #folder: string;
  readonly #signal: AbortSignal;
  readonly #onProblem: (problem: string) => void;
  /** Closed segments whose index was there and complete when last looked into. */
  readonly #done = new Set<number>();
  /** Segments whose index was found sound by all its checksums in this run. */
  readonly #sound = new Set<number>();
  readonly #troubles = new Map<number, { backoffMs: number; notBefore: number }>();
  /** The segment being written. */
  #active: SegmentIndexing | null = null;
  #looks = 0;

  constructor(fs: LogFs, folder: string, signal: AbortSignal, onProblem: (problem: string) => void) {
    this.#fs = fs;
    this.#folder = folder;
    this.#signal = signal;
    this.#onProblem = onProblem;
  }

  /** Brings the indexes up to offset `durable`. */
  async look(durable: number): Promise<void> {
    const names = new Set(await this.#fs.readdir(this.#folder));
    const bases = await listSegments(this.#fs, this.#folder);
    if (this.#looks++ % CHECK_EVERY_LOOKS === 0) this.#done.clear();
    const held = new Set(bases);
    for (const base of this.#sound) if (!held.has(base)) this.#sound.delete(base);
    for (const base of this.#troubles.keys()) if (!held.has(base)) this.#troubles.delete(base);
    for (const base of this.#done)
      if (!held.has(base) || !names.has(segmentFile(base, 'keys'))) this.#done.delete(base);
    for (const [index, base] of bases.entries()) {
      if (this.#signal.aborted) return;
      if (this.#done.has(base) || base >= durable) continue;
      if (performance.now() < (this.#troubles.get(base)?.notBefore ?? 0)) continue;
      const next = bases[index + 1];
      try {
        // While the next one is empty it may be taken back, and this one grow on.
        if (next !== undefined && next < durable) await this.#close(base, next);
        else await this.#follow(base, durable);
        if (!this.#signal.aborted) this.#troubles.delete(base);
      } catch (error) {
        if (this.#active?.baseOffset === base && this.#active.isBroken) this.#active = null;
        this.#trouble(base, (error as Error).message);
      }
    }
  }

  async #close(base: number, next: number): Promise<void> {
    const active = this.#active?.baseOffset === base ? this.#active : null;
    if (active || !(await this.#hasSoundIndex(base))) {
      const indexing = active ?? new SegmentIndexing(this.#fs, this.#folder, base);
      this.#check(await indexing.advance(next, true, this.#manners));
      if (active) this.#active = null;
    }
    if (!this.#signal.aborted) this.#done.add(base);
  }

  /** Its checksums are looked at once a run: what a disk has spoilt must not slow queries down for ever. */
  async #hasSoundIndex(base: number): Promise<boolean> {
    if (!(await hasKeyIndex(this.#fs, this.#folder, base))) return false;
    if (this.#sound.has(base)) return true;
    const began = performance.now();
    if (!(await isSoundKeyIndex(this.#fs, join(this.#folder, segmentFile(base, 'keys'))))) return false;
    this.#sound.add(base);
    await this.#manners.pause?.(performance.now() - began);
    return true;
  }

  async #follow(base: number, durable: number): Promise<void> {
    if (this.#active?.baseOffset !== base) this.#active = new SegmentIndexing(this.#fs, this.#folder, base);
    this.#check(await this.#active.advance(durable, false, this.#manners));
  }

  #check(problem: string | null): void {
    if (problem !== null) throw new Error(problem);
  }

  #trouble(base: number, problem: string): void {
    const backoffMs = Math.min((this.#troubles.get(base)?.backoffMs ?? 500) * 2, MAX_BACKOFF_MS);
    this.#troubles.set(base, { backoffMs, notBefore: performance.now() + backoffMs });
    // The first time it may just be a segment whose end is still being cut.
    if (backoffMs === 4000) this.#onProblem(`${segmentFile(base, 'log')}: ${problem}`);
  }

  /** Takes at most two thirds of a core, and stops when told to. */
  get #manners(): AdvanceOptions {
    const pause = (tookMs: number) =>
      new Promise<void>((resolve) => setTimeout(resolve, this.#signal.aborted ? 0 : tookMs / 2));
    return { pause, signal: this.#signal };
  }
}

const ENTRY = new URL(
  import.meta.url.endsWith('.ts') ? './key-indexer-chore.ts' : './key-indexer-chore.js',
  import.meta.url,
);

/** Not to take the other chores of the thread along again and again, should it be what ends the thread. */
const AGAIN = { firstMs: 60_000, maxMs: 3_600_000 };

/** As a chore. When it fails, queries go without what it would have made until it is begun anew. */
export class KeyIndexer {
  readonly #again = new Again(AGAIN);
  readonly #begin: () => ChoreLink<never>;
  #chore: ChoreLink<never>;

  constructor(chores: Chores, init: KeyIndexerInit, onProblem: (problem: string) => void = () => {}) {
    this.#begin = () =>
      chores.begin({
        entry: ENTRY,
        init,
        onAnswer: onProblem,
        onEnd: (error) => {
          onProblem(error.message);
          this.#again.later(() => {
            this.#chore = this.#begin();
          });
        },
      });
    this.#chore = this.#begin();
  }

  async close(): Promise<void> {
    this.#again.stop();
    await this.#chore.close();
  }
}
