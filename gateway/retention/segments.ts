// What retention must know of closed segments: how many records of each class they hold, and how old those are. Reads
// each segment once and remembers; decides nothing.

import type { LogFs } from '../log/fs.ts';
import { closedBatches } from '../log/retention/rewrite.ts';
import type { RolledSegment } from '../log/types.ts';
import type { RetentionClasses } from './classes.ts';

export interface ClassFigures {
  records: number;
  /** Receipt of the newest, unix ms. */
  newestMs: number;
}

export type SegmentProfile =
  | { readonly kind: 'read'; readonly classes: readonly ClassFigures[] }
  /** It cannot be read through: it is only dropped as a whole, by size or when all of it is old by the file's time. */
  | { readonly kind: 'unreadable'; readonly reason: string };

interface Known {
  readonly sizeBytes: number;
  /** Receipt of the first record; null where there is none. */
  readonly firstMs: number | null;
  profile: SegmentProfile | null;
}

export class SegmentProfiles {
  readonly #fs: LogFs;
  readonly #folder: string;
  readonly #classes: RetentionClasses;
  /** By base offset; a rewritten segment has another size and is read again. */
  #known = new Map<number, Known>();

  constructor(fs: LogFs, folder: string, classes: RetentionClasses) {
    this.#fs = fs;
    this.#folder = folder;
    this.#classes = classes;
  }

  /** Forgets all but these. */
  keepOnly(segments: readonly RolledSegment[]): void {
    const held = new Map(segments.map((segment) => [segment.baseOffset as number, segment.sizeBytes]));
    this.#known = new Map([...this.#known].filter(([base, known]) => held.get(base) === known.sizeBytes));
  }

  /** When its first record was received: nothing in it is older. Null where it holds no record. */
  async firstMs(segment: RolledSegment): Promise<number | null> {
    return (await this.#of(segment)).firstMs;
  }

  async profile(segment: RolledSegment): Promise<SegmentProfile> {
    const known = await this.#of(segment);
    known.profile ??= await this.#read(segment);
    return known.profile;
  }

  async #of(segment: RolledSegment): Promise<Known> {
    const found = this.#known.get(segment.baseOffset);
    if (found) return found;
    let firstMs: number | null = null;
    for await (const { records } of this.#batches(segment)) {
      if (records.length === 0) continue;
      firstMs = records[0]!.receivedMs;
      break;
    }
    const known = { sizeBytes: segment.sizeBytes, firstMs, profile: null };
    this.#known.set(segment.baseOffset, known);
    return known;
  }

  #batches({ baseOffset, endOffset }: RolledSegment) {
    return closedBatches(this.#fs, this.#folder, baseOffset, endOffset);
  }

  async #read(segment: RolledSegment): Promise<SegmentProfile> {
    const classes = this.#classes.classes.map(() => ({ records: 0, newestMs: Number.NEGATIVE_INFINITY }));
    const batches = this.#batches(segment);
    for (;;) {
      const next = await batches.next();
      if (next.done)
        return next.value ? { kind: 'unreadable', reason: next.value.reason } : { kind: 'read', classes };
      for (const { topic, receivedMs } of next.value.records) {
        const figures = classes[this.#classes.of(topic)]!;
        figures.records += 1;
        if (receivedMs > figures.newestMs) figures.newestMs = receivedMs;
      }
    }
  }
}
