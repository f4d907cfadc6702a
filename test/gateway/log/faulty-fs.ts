// Owns a file system for the log that counts every call and makes one of them go wrong. Real files underneath.
import { type FsError, type LogFs, realFs } from '../../../gateway/log/fs.ts';
import { failure } from './records.ts';

/**
 * fails: nothing is done. half: a write puts down half its bytes first. done: it is all done, and reported as failed.
 * crash: neither it nor anything after it happens or returns, as when the process is killed there.
 */
export type FaultMode = 'fails' | 'half' | 'done' | 'crash';

export interface Fault {
  /** Which call goes wrong, counted from 0 over all calls. */
  readonly at: number;
  readonly mode: FaultMode;
  readonly code: 'ENOSPC' | 'EIO';
  /** How many calls of the same kind go wrong from there on. */
  readonly times?: number;
}

export interface FaultyFs extends LogFs {
  /** Names of the calls made so far, in order. */
  readonly calls: string[];
  /** Resolves when a crash has been reached. */
  readonly crashed: Promise<void>;
  /** Sets the fault of a file system made without one; `at` counts from its first call. */
  arm(fault: Fault): void;
}

const forever = new Promise<never>(() => {});

export function faultyFs(first: Fault | null): FaultyFs {
  let fault = first;
  const calls: string[] = [];
  let crash = (): void => {};
  const crashed = new Promise<void>((resolve) => {
    crash = resolve;
  });
  let dead = false;
  let left = fault?.times ?? 1;
  let kind: string | null = null;

  /** What this call is to do. */
  const meet = (name: string): 'go on' | FaultMode => {
    const at = calls.push(name) - 1;
    if (dead) return 'crash';
    if (!fault || at < fault.at || left === 0) return 'go on';
    kind ??= name;
    if (name !== kind) return 'go on';
    left -= 1;
    if (fault.mode === 'crash') {
      dead = true;
      crash();
    }
    return fault.mode;
  };
  const wrap =
    <Args extends unknown[], T>(name: string, real: (...args: Args) => Promise<T>) =>
    async (...args: Args): Promise<T> => {
      const verdict = meet(name);
      if (verdict === 'crash') return forever;
      if (verdict === 'go on') return real(...args);
      if (verdict === 'done') {
        const value = await real(...args);
        if (name === 'open') await realFs.close(value as number);
      }
      throw failure(fault!.code);
    };

  return {
    calls,
    crashed,
    arm: (next) => {
      fault = next;
      left = next.times ?? 1;
    },
    open: wrap('open', realFs.open),
    close: wrap('close', realFs.close),
    pread: wrap('pread', async (...args: Parameters<LogFs['pread']>) => realFs.pread(...args)),
    ftruncate: wrap('ftruncate', realFs.ftruncate),
    stat: wrap('stat', realFs.stat),
    readdir: wrap('readdir', realFs.readdir),
    rename: wrap('rename', realFs.rename),
    unlink: wrap('unlink', realFs.unlink),
    mkdir: wrap('mkdir', realFs.mkdir),
    syncDirectory: wrap('syncDirectory', realFs.syncDirectory),
    freeBytes: wrap('freeBytes', realFs.freeBytes),
    pwrite: (fd, bytes, start, length, position, done) => {
      const verdict = meet('pwrite');
      if (verdict === 'crash') return;
      if (verdict === 'go on') realFs.pwrite(fd, bytes, start, length, position, done);
      else if (verdict === 'fails') queueMicrotask(() => done(failure(fault!.code), 0));
      else {
        const part = verdict === 'half' ? length >> 1 : length;
        realFs.pwrite(fd, bytes, start, part, position, () => done(failure(fault!.code), 0));
      }
    },
    fdatasync: (fd, done: (error: FsError) => void, atOnce) => {
      const verdict = meet('fdatasync');
      if (verdict === 'crash') return;
      if (verdict === 'go on') realFs.fdatasync(fd, done, atOnce);
      else if (verdict === 'fails') queueMicrotask(() => done(failure(fault!.code)));
      else realFs.fdatasync(fd, () => done(failure(fault!.code)));
    },
  };
}
