// Owns the answer to "may the log grow": the reserve file `log/reserve`, given up when the disk is full and taken back
// before anything more is appended, and the free space seen last. Refuses to let the log eat what it gave up.
//
// Why a reserve: on a full disk others still have to write a little — recovery its indexes, state.db its cursors, the
// ledger its blocks — or nothing could be sealed, and nothing dropped in order. So the last bytes are kept for them:
//
//   held     the file is there                    the log appends
//   given up its space is free for the others     the log refuses, until the file could be written again
import { join } from 'node:path';
import { datasync, isDiskFull, isMissing, type LogFs, writeFully } from './fs.ts';
import type { SpaceMaker } from './types.ts';

const NAME = 'reserve';
const PIECE_BYTES = 256 * 1024;
const CHECK_MS = 1_000;
/** How often a maker that frees something is asked again for one batch. */
const MAX_TRIES = 8;

export interface DiskRoomOptions {
  readonly fs: LogFs;
  readonly folder: string;
  readonly reserveBytes: number;
}

export class DiskRoom {
  readonly #options: DiskRoomOptions;
  readonly #path: string;
  #maker: SpaceMaker | null = null;
  #full: Error | null = null;
  #freeBytes: number | null = null;
  #held = false;
  /** Bytes that may still be written before the disk must be looked at again. */
  #budget = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | null = null;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(options: DiskRoomOptions) {
    this.#options = options;
    this.#path = join(options.folder, NAME);
  }

  /** Before recovery: with next to nothing left, the reserve of the last run is given up for what recovery writes. */
  static async open(options: DiskRoomOptions): Promise<DiskRoom> {
    const room = new DiskRoom(options);
    await room.#look();
    if (options.reserveBytes === 0) await room.#remove();
    else await room.#giveUpIfLow();
    return room;
  }

  /** After recovery: from now on the space is set aside and watched. */
  async begin(): Promise<void> {
    const { fs, reserveBytes } = this.#options;
    if (reserveBytes > 0 && !this.#full) {
      const size = await fs.stat(this.#path).then(
        (stat) => stat.sizeBytes,
        () => -1,
      );
      if (size === reserveBytes) this.#held = true;
      else await this.#take();
    }
    this.#timer = setInterval(() => void this.#queued(() => this.#watch()), CHECK_MS);
    this.#timer.unref();
  }

  useSpaceMaker(maker: SpaceMaker): void {
    this.#maker = maker;
  }

  /** Why the log must not grow now, or null. */
  get full(): Error | null {
    return this.#full;
  }

  /** As seen last, at most some seconds ago; null where the file system does not say. */
  get freeBytes(): number | null {
    return this.#freeBytes;
  }

  get reserve(): 'held' | 'given-up' | 'none' {
    if (this.#held) return 'held';
    return this.#full && this.#options.reserveBytes > 0 ? 'given-up' : 'none';
  }

  /**
   * Counts `bytes` about to be written. False when the disk may be down to the others' share by now: `look` first. So
   * they do not find it full because the log was quicker.
   */
  mayGrow(bytes: number): boolean {
    if (this.#full) return false;
    this.#budget -= bytes;
    return this.#budget >= 0;
  }

  /** Looks at the disk; afterwards `full` says whether the log may grow. */
  look(): Promise<void> {
    return this.#queued(async () => {
      await this.#look();
      if (this.#options.reserveBytes > 0 && !this.#full) await this.#giveUpIfLow();
    });
  }

  /**
   * `bytes` found no room because of `cause`, for the `tries`th time: gives up the reserve, asks for room where somebody
   * can make some. True when it is worth trying again.
   */
  ranOut(cause: Error, bytes: number, tries: number): Promise<boolean> {
    return this.#queued(async () => {
      await this.#giveUp(cause);
      if (tries > (this.#maker ? MAX_TRIES : 1)) return false;
      const freed = await this.#makeRoom(bytes);
      return (freed > 0 || tries === 1) && this.#regain();
    });
  }

  /** Before a batch while `full`: true once the log may grow again. */
  regain(bytes: number): Promise<boolean> {
    return this.#queued(async () => {
      if (await this.#regain()) return true;
      return (await this.#makeRoom(bytes)) > 0 && this.#regain();
    });
  }

  async close(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    await this.#last;
  }

  async #watch(): Promise<void> {
    await this.#look();
    const { reserveBytes } = this.#options;
    if (reserveBytes === 0) return;
    if (this.#full) await this.#regain();
    else await this.#giveUpIfLow();
  }

  async #giveUpIfLow(): Promise<void> {
    if (this.#isLow(this.#options.reserveBytes))
      await this.#giveUp(new Error(`only ${this.#freeBytes} bytes are left on the disk`));
  }

  async #look(): Promise<void> {
    const { fs, folder, reserveBytes } = this.#options;
    this.#freeBytes = await fs.freeBytes(folder).catch(() => null);
    this.#budget =
      this.#freeBytes === null || reserveBytes === 0
        ? Number.POSITIVE_INFINITY
        : this.#freeBytes - reserveBytes;
  }

  #isLow(bytes: number): boolean {
    return this.#freeBytes !== null && this.#freeBytes < bytes;
  }

  async #makeRoom(bytes: number): Promise<number> {
    // Enough for the reserve as well, and for the sync after this one.
    return (await this.#maker?.makeRoom(2 * (bytes + this.#options.reserveBytes)).catch(() => 0)) ?? 0;
  }

  async #giveUp(cause: Error): Promise<void> {
    this.#full = cause;
    this.#held = false;
    await this.#remove();
  }

  async #regain(): Promise<boolean> {
    if (!this.#full) return true;
    const { reserveBytes } = this.#options;
    if (reserveBytes > 0) {
      await this.#look();
      // As much again must be left, or the log would give it up with the next batch.
      if (this.#isLow(2 * reserveBytes)) return false;
      await this.#take();
    } else this.#full = null;
    return this.#full === null;
  }

  /** Writes the file. Only a full disk keeps the log from growing; for any other reason it goes without. */
  async #take(): Promise<void> {
    const { fs, folder, reserveBytes } = this.#options;
    try {
      await this.#remove();
      const fd = await fs.open(this.#path, 'create');
      try {
        for (let at = 0; at < reserveBytes; at += PIECE_BYTES)
          await writeFully(fs, fd, NOISE.subarray(0, Math.min(PIECE_BYTES, reserveBytes - at)), at);
        await datasync(fs, fd);
      } finally {
        await fs.close(fd);
      }
      await fs.syncDirectory(folder);
      this.#held = true;
      this.#budget -= reserveBytes;
      this.#full = null;
    } catch (error) {
      this.#full = isDiskFull(error as NodeJS.ErrnoException) ? (error as Error) : null;
      await this.#remove();
    }
  }

  async #remove(): Promise<void> {
    try {
      await this.#options.fs.unlink(this.#path);
    } catch (error) {
      // What cannot be removed is tried again; the log refuses meanwhile, or goes without.
      if (!isMissing(error)) return;
    }
  }

  #queued<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#last.then(act);
    this.#last = result.catch(() => {});
    return result;
  }
}

/** No zeros: a file system that compresses would set nothing aside for them. Xorshift, the same bytes every time. */
const NOISE = noise(PIECE_BYTES);

function noise(length: number): Uint8Array {
  const words = new Uint32Array(length / 4);
  let state = 0x9e3779b9;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer);
}
