// Measures what the disk itself allows: write and fdatasync of one size, one after the other, into a file that holds
// zeros already, through the same calls of node:fs (and so the same thread pool) as the log. Nothing else is in the way.
import fs from 'node:fs';
import { join } from 'node:path';
import { realFs, writeFully } from '../../gateway/log/fs.ts';
import { Latencies, ms } from './latencies.ts';

/** The log writes in pieces of this size too. */
const PIECE_BYTES = 256 * 1024;
const FILE_BYTES = 256 * 1024 * 1024;

export interface DiskFigures {
  readonly groupsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export class DiskLimit {
  readonly #path: string;
  readonly #fd: number;
  #position = 0;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  static async open(folder: string): Promise<DiskLimit> {
    const path = join(folder, 'zeros');
    const fd = await realFs.open(path, 'create');
    const zeros = new Uint8Array(PIECE_BYTES);
    for (let at = 0; at < FILE_BYTES; at += PIECE_BYTES) await writeFully(realFs, fd, zeros, at);
    fs.fsyncSync(fd);
    return new DiskLimit(path, fd);
  }

  /** Groups of `groupBytes`, each synced before the next begins, for about `seconds`. */
  measure(groupBytes: number, seconds: number): Promise<DiskFigures> {
    const bytes = Buffer.alloc(Math.max(1, Math.round(groupBytes)), 'telemetry');
    const latencies = new Latencies();
    const began = performance.now();
    const until = began + seconds * 1_000;
    return new Promise((resolve, reject) => {
      const next = () => {
        const from = performance.now();
        if (from >= until) {
          const [p50Ms = 0, p99Ms = 0] = latencies.quantiles(0.5, 0.99);
          resolve({ groupsPerSecond: latencies.count / ((from - began) / 1_000), p50Ms, p99Ms });
          return;
        }
        if (this.#position + bytes.length > FILE_BYTES) this.#position = 0;
        this.#group(bytes, (error) => {
          if (error) {
            reject(error);
            return;
          }
          latencies.add(performance.now() - from);
          next();
        });
      };
      next();
    });
  }

  #group(bytes: Buffer, done: (error: Error | null) => void): void {
    const piece = (start: number) => {
      if (start >= bytes.length) {
        this.#position += bytes.length;
        fs.fdatasync(this.#fd, done);
        return;
      }
      const length = Math.min(PIECE_BYTES, bytes.length - start);
      fs.write(this.#fd, bytes, start, length, this.#position + start, (error, written) =>
        error ? done(error) : piece(start + written),
      );
    };
    piece(0);
  }

  close(): void {
    fs.closeSync(this.#fd);
    fs.unlinkSync(this.#path);
  }
}

const CALIBRATION_BYTES = 4_096;

/** One line for benchmarks whose figures hang on the disk: how quick its syncs were just now, others' work included. */
export async function diskLine(folder: string): Promise<string> {
  const disk = await DiskLimit.open(folder);
  try {
    const { p50Ms, p99Ms } = await disk.measure(CALIBRATION_BYTES, 1);
    return `disk alone, just now: write + fdatasync of 4 KiB takes ${ms(p50Ms)} ms (p50), ${ms(p99Ms)} ms (p99)\n`;
  } finally {
    disk.close();
  }
}
