// Owns a sliding window of bytes over one open file. Every load that needs new bytes takes a fresh buffer, because
// records handed out may be views of the old one, unless it was told that nobody keeps any. Interprets nothing.
import { type LogFs, readFully } from './fs.ts';

const NONE = Buffer.alloc(0);

export class FileWindow {
  readonly #fs: LogFs;
  readonly #fd: number;
  readonly #reuses: boolean;
  bytes: Buffer = NONE;
  #whole: Buffer = NONE;
  /** File position of bytes[0]. */
  #from = 0;

  /** `reuses`: a load overwrites what the one before gave. */
  constructor(fs: LogFs, fd: number, { reuses = false } = {}) {
    this.#reuses = reuses;
    this.#fs = fs;
    this.#fd = fd;
  }

  /** Where `position` is inside `bytes`; only after a load that covered it. */
  at(position: number): number {
    return position - this.#from;
  }

  has(position: number, length: number): boolean {
    return position >= this.#from && position + length <= this.#from + this.bytes.length;
  }

  /**
   * Makes at least `needBytes` from `position` present where the file has them, reading up to `wantBytes` in one go.
   * Resolves with how many bytes from `position` are present.
   */
  async load(position: number, needBytes: number, wantBytes: number): Promise<number> {
    if (!this.has(position, needBytes)) {
      const wanted = Math.max(needBytes, wantBytes);
      const again = this.#reuses && this.#whole.length >= wanted;
      const fresh = again ? this.#whole : Buffer.allocUnsafeSlow(wanted);
      let kept = 0;
      if (this.has(position, 0)) kept = this.bytes.copy(fresh, 0, this.at(position));
      const read = await readFully(
        this.#fs,
        this.#fd,
        fresh.subarray(kept),
        fresh.length - kept,
        position + kept,
      );
      if (this.#reuses) this.#whole = fresh;
      this.bytes = fresh.subarray(0, kept + read);
      this.#from = position;
    }
    return this.bytes.length - this.at(position);
  }

  /** Forgets what lies at and after `position`: it may have changed since it was read. */
  cut(position: number): void {
    if (position <= this.#from) this.bytes = NONE;
    else if (position < this.#from + this.bytes.length)
      this.bytes = this.bytes.subarray(0, this.at(position));
  }
}
