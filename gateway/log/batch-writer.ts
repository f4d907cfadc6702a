// Owns the way of one batch onto the disk: packed where that pays, room found, a new segment begun where one is due,
// written. Refuses a second batch while one is under way. Knows nothing of who waits for it, or of syncs.
import type { WriteFailure } from './active-segment.ts';
import { CODEC, HEADER_BYTES, sealBatch, writeBaseOffset } from './batch.ts';
import type { DiskRoom } from './disk-room.ts';
import type { GroupBatch } from './group.ts';
import type { Roll, SegmentChain } from './segment-chain.ts';
import type { Packer } from './zstd.ts';

/** Kafka's index holds positions as int32. */
const MAX_POSITION = 2 ** 31 - 1;

export interface WrittenBatch {
  readonly position: number;
  readonly sizeBytes: number;
  /** Its size before packing. */
  readonly plainBytes: number;
  readonly count: number;
  readonly lastOffset: number;
  readonly maxTimestamp: number;
}

export type WriteOutcome =
  | { readonly kind: 'written'; readonly batch: WrittenBatch }
  /** Nothing of it is kept; later ones may succeed. */
  | { readonly kind: 'refused'; readonly error: Error }
  /** Nothing more may be written; null when `stop` was called meanwhile. */
  | { readonly kind: 'dead'; readonly error: Error | null };

export interface BatchWriterOptions {
  readonly chain: SegmentChain;
  readonly room: DiskRoom;
  readonly packer: Packer;
  /** Makes all that has been written durable; false when that failed for good. Called before a segment is closed. */
  readonly flush: () => Promise<boolean>;
}

interface Framed {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
}

interface Task {
  readonly batch: GroupBatch;
  readonly baseOffset: number;
  framed: Framed;
  /** How often it has found the disk full. */
  fullTries: number;
  readonly done: (outcome: WriteOutcome) => void;
}

const STOPPED: WriteOutcome = { kind: 'dead', error: null };

export class BatchWriter {
  readonly #options: BatchWriterOptions;
  #stopped = false;

  constructor(options: BatchWriterOptions) {
    this.#options = options;
  }

  /** Nothing more is begun; what is under way ends with 'dead'. */
  stop(): void {
    this.#stopped = true;
  }

  /** Writes the batch that lies in `buffer`, its records from `baseOffset` on. `buffer` must stay as it is until `done`. */
  write(buffer: Buffer, batch: GroupBatch, baseOffset: number, done: (outcome: WriteOutcome) => void): void {
    const task: Task = {
      batch,
      baseOffset,
      framed: { bytes: buffer, start: batch.start, end: batch.end },
      fullTries: 0,
      done,
    };
    const packed = this.#options.packer.pack(buffer.subarray(batch.start + HEADER_BYTES, batch.end));
    if (packed instanceof Promise) this.#then(task, packed, (records) => this.#frame(task, records));
    else this.#frame(task, packed);
  }

  /** Begins a new segment at `nextOffset`; everything before it is made durable first. */
  async roll(nextOffset: number): Promise<Roll> {
    if (!(await this.#options.flush())) return { kind: 'grows', error: new Error('the log has failed') };
    return this.#options.chain.roll(nextOffset);
  }

  #then<T>(task: Task, work: Promise<T>, next: (result: T) => void): void {
    work.then(
      (result) => (this.#stopped ? task.done(STOPPED) : next(result)),
      (error: Error) => task.done({ kind: 'dead', error }),
    );
  }

  #frame(task: Task, packed: Uint8Array | null): void {
    const { batch, framed } = task;
    const { count, baseTimestamp, maxTimestamp } = batch;
    if (packed) {
      const bytes = Buffer.allocUnsafe(HEADER_BYTES + packed.length);
      bytes.set(packed, HEADER_BYTES);
      task.framed = { bytes, start: 0, end: bytes.length };
      sealBatch(bytes, 0, bytes.length, { count, baseTimestamp, maxTimestamp, codec: CODEC.zstd });
    } else sealBatch(framed.bytes, batch.start, batch.end, { count, baseTimestamp, maxTimestamp });
    writeBaseOffset(task.framed.bytes, task.framed.start, task.baseOffset);
    this.#place(task);
  }

  #place(task: Task): void {
    const { room } = this.#options;
    const sizeBytes = task.framed.end - task.framed.start;
    const { full } = room;
    if (!full && !room.mayGrow(sizeBytes)) {
      this.#then(task, room.look(), () => (room.full ? this.#place(task) : this.#placeInSegment(task)));
      return;
    }
    if (full)
      this.#then(task, room.regain(sizeBytes), (regained) => {
        if (regained) this.#place(task);
        else task.done({ kind: 'refused', error: full });
      });
    else this.#placeInSegment(task);
  }

  #placeInSegment(task: Task): void {
    const { chain } = this.#options;
    if (!chain.mustRoll(task.framed.end - task.framed.start)) this.#put(task);
    else
      this.#then(task, this.roll(task.baseOffset), (outcome) => {
        if (outcome.kind === 'stuck') task.done({ kind: 'refused', error: outcome.error });
        else this.#put(task);
      });
  }

  #put(task: Task): void {
    const segment = this.#options.chain.active;
    const { batch, baseOffset, framed } = task;
    const position = segment.position;
    const sizeBytes = framed.end - framed.start;
    if (position + sizeBytes > MAX_POSITION) {
      task.done({ kind: 'refused', error: new Error('no new segment can be begun') });
      return;
    }
    segment.write(framed.bytes, framed.start, framed.end, (failure) => {
      if (this.#stopped) task.done(STOPPED);
      else if (failure) this.#onFailure(task, failure);
      else {
        const { count, maxTimestamp } = batch;
        const lastOffset = baseOffset + count - 1;
        const plainBytes = batch.end - batch.start;
        task.done({
          kind: 'written',
          batch: { position, sizeBytes, plainBytes, count, lastOffset, maxTimestamp },
        });
      }
    });
  }

  #onFailure(task: Task, { kind, error }: WriteFailure): void {
    if (kind === 'dead') {
      task.done({ kind, error });
      return;
    }
    task.fullTries += 1;
    const sizeBytes = task.framed.end - task.framed.start;
    this.#then(task, this.#options.room.ranOut(error, sizeBytes, task.fullTries), (again) => {
      if (again) this.#place(task);
      else task.done({ kind: 'refused', error });
    });
  }
}
