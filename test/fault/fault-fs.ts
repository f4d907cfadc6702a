// Owns the log's file system that counts every call and makes one of them go wrong, in every way such a call can. A
// crash is a copy of the disk at that moment: what runs on afterwards meets a dead disk and changes nothing.
import type { FsError, LogFs } from '../../gateway/log/fs.ts';
import { failure } from '../gateway/log/records.ts';
import type { MemoryDisk } from './memory-disk.ts';

export interface Call {
  readonly name: keyof LogFs;
  /** Bytes to write or read; 0 for other calls. */
  readonly length: number;
}

/**
 * failed: nothing is done. persisted: it is all done, and reported as failed. torn: a write puts down its first bytes
 * and fails, or is the last thing before a crash. short: it says how little it did. forgotten: a failed sync after which
 * the system holds the bytes for clean. crash before/after: the process ends there. From on: every later call like it
 * fails too, as on a disk that stays full.
 */
export type Fault =
  | { readonly kind: 'failed' | 'persisted'; readonly code: 'EIO' | 'ENOSPC' }
  | { readonly kind: 'torn'; readonly code: 'EIO' | 'ENOSPC' | 'crash'; readonly bytes: number }
  | { readonly kind: 'short'; readonly bytes: number }
  | { readonly kind: 'forgotten' }
  | { readonly kind: 'crash before' | 'crash after' }
  | { readonly kind: 'from on'; readonly code: 'EIO' | 'ENOSPC' };

export function nameOf(fault: Fault): string {
  if (fault.kind === 'torn') return `torn at byte ${fault.bytes}, ${fault.code}`;
  if (fault.kind === 'short') return `short at byte ${fault.bytes}`;
  if (fault.kind === 'forgotten') return 'EIO, bytes held for clean';
  if (fault.kind === 'failed') return `failed, ${fault.code}`;
  if (fault.kind === 'persisted') return `failed but persisted, ${fault.code}`;
  if (fault.kind === 'from on') return `${fault.code} from here on`;
  return fault.kind;
}

const READING: ReadonlySet<keyof LogFs> = new Set(['pread', 'stat', 'readdir', 'freeBytes']);
/** Nothing, a byte, the end of the length, of the checksum, of a batch's header (gateway/log/batch.ts); then half, all but one. */
const TORN_AT = [0, 1, 12, 21, 61];

function tornAt(length: number): number[] {
  const places = [...TORN_AT, length >> 1, length - 1].filter((at) => at >= 0 && at < length);
  return [...new Set(places)];
}

/** Every way in which `call` can go wrong. */
export function faultsOf(call: Call): Fault[] {
  const crashes: Fault[] = [{ kind: 'crash before' }];
  if (READING.has(call.name) || call.name === 'close') {
    const short: Fault[] = call.name === 'pread' ? [{ kind: 'short', bytes: call.length >> 1 }] : [];
    return [{ kind: 'failed', code: 'EIO' }, ...short, ...crashes];
  }
  const faults: Fault[] = [
    ...(['EIO', 'ENOSPC'] as const).flatMap((code): Fault[] => [
      { kind: 'failed', code },
      { kind: 'persisted', code },
      { kind: 'from on', code },
    ]),
    ...crashes,
    { kind: 'crash after' },
  ];
  if (call.name === 'fdatasync') faults.push({ kind: 'forgotten' });
  if (call.name !== 'pwrite') return faults;
  for (const bytes of tornAt(call.length)) {
    faults.push({ kind: 'torn', code: 'crash', bytes });
    if (bytes === 0) continue;
    faults.push({ kind: 'torn', code: 'EIO', bytes }, { kind: 'torn', code: 'ENOSPC', bytes });
    faults.push({ kind: 'short', bytes });
  }
  return faults;
}

export class FaultFs {
  readonly calls: Call[] = [];
  /** The disk as it was when the process crashed; null as long as it has not. */
  crashed: MemoryDisk | null = null;
  readonly port: LogFs;
  readonly #disk: MemoryDisk;
  readonly #at: number;
  readonly #fault: Fault | null;
  readonly #onCall: ((disk: MemoryDisk, at: number) => void) | null;

  /** @param onCall sees the disk as it is before each call */
  constructor(
    disk: MemoryDisk,
    dataDir: string,
    plan: { readonly at: number; readonly fault: Fault } | null,
    onCall: ((disk: MemoryDisk, at: number) => void) | null = null,
  ) {
    this.#disk = disk;
    this.#at = plan?.at ?? -1;
    this.#fault = plan?.fault ?? null;
    this.#onCall = onCall;
    this.port = this.#wrap(disk.port(dataDir));
  }

  #crash(): void {
    this.crashed = this.#disk.fork();
  }

  /** What this call is to do: null is what it should. */
  #meet(name: keyof LogFs, length = 0): Fault | null {
    if (this.crashed) return { kind: 'failed', code: 'EIO' };
    const at = this.calls.push({ name, length }) - 1;
    this.#onCall?.(this.#disk, at);
    const fault = this.#fault;
    if (fault === null || at < this.#at) return null;
    if (fault.kind === 'from on') {
      const isLike = name === this.calls[this.#at]!.name || (name === 'pwrite' && fault.code === 'ENOSPC');
      return isLike ? { kind: 'failed', code: fault.code } : null;
    }
    if (at > this.#at) return null;
    if (fault.kind === 'crash before') {
      this.#crash();
      return { kind: 'failed', code: 'EIO' };
    }
    return fault;
  }

  #promise<Args extends unknown[], T>(
    name: keyof LogFs,
    real: (...args: Args) => Promise<T>,
  ): (...args: Args) => Promise<T> {
    return async (...args) => {
      const fault = this.#meet(name);
      if (fault === null) return real(...args);
      if (fault.kind === 'failed') throw failure(fault.code);
      const result = await real(...args);
      if (fault.kind === 'persisted') throw failure(fault.code);
      if (fault.kind !== 'crash after') return result;
      this.#crash();
      throw failure('EIO');
    };
  }

  #wrap(real: LogFs): LogFs {
    return {
      open: (path, mode) => {
        if (mode === 'create') return this.#promise('open', real.open)(path, mode);
        // Opening what exists changes nothing: it can fail, and that is all.
        const fault = this.#meet('open');
        if (fault === null) return real.open(path, mode);
        if (fault.kind === 'crash after') this.#crash();
        return Promise.reject(failure('code' in fault && fault.code !== 'crash' ? fault.code : 'EIO'));
      },
      close: this.#promise('close', real.close),
      ftruncate: this.#promise('ftruncate', real.ftruncate),
      stat: this.#promise('stat', real.stat),
      readdir: this.#promise('readdir', real.readdir),
      freeBytes: this.#promise('freeBytes', real.freeBytes),
      rename: this.#promise('rename', real.rename),
      unlink: this.#promise('unlink', real.unlink),
      mkdir: this.#promise('mkdir', real.mkdir),
      syncDirectory: this.#promise('syncDirectory', real.syncDirectory),
      pread: async (fd, into, start, length, position) => {
        const fault = this.#meet('pread', length);
        if (fault?.kind === 'failed') throw failure(fault.code);
        const take = fault?.kind === 'short' ? Math.max(1, fault.bytes) : length;
        return real.pread(fd, into, start, take, position);
      },
      pwrite: (fd, bytes, start, length, position, done) => {
        const fault = this.#meet('pwrite', length);
        const fail = (code: string) => done(failure(code), 0);
        if (fault === null) return real.pwrite(fd, bytes, start, length, position, done);
        if (fault.kind === 'failed') return fail(fault.code);
        const put = fault.kind === 'torn' || fault.kind === 'short' ? fault.bytes : length;
        if (fault.kind === 'short') return real.pwrite(fd, bytes, start, put, position, done);
        const fails = fault.kind === 'torn' || fault.kind === 'persisted' ? fault.code : 'crash';
        const after = (): void => {
          if (fails === 'crash') this.#crash();
          fail(fails === 'crash' ? 'EIO' : fails);
        };
        if (put === 0) return after();
        real.pwrite(fd, bytes, start, put, position, after);
      },
      fdatasync: (fd, done: (error: FsError) => void, atOnce) => {
        const fault = this.#meet('fdatasync');
        const fail = (code: string) => {
          if (atOnce) done(failure(code));
          else queueMicrotask(() => done(failure(code)));
        };
        if (fault === null) return real.fdatasync(fd, done, atOnce);
        if (fault.kind === 'failed') return fail(fault.code);
        if (fault.kind === 'forgotten') {
          this.#disk.forgetUnsynced(fd);
          return fail('EIO');
        }
        real.fdatasync(fd, () => {
          if (fault.kind === 'crash after') this.#crash();
          fail(fault.kind === 'persisted' ? fault.code : 'EIO');
        });
      },
    };
  }
}
