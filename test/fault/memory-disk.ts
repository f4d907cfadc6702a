// Owns a disk in memory that knows what a power cut may take: writes and names that no sync has covered yet. Holds
// small logs only, and knows nothing of what the bytes mean.
//
// What it rests on (the strictest reading of POSIX that a journalling file system still keeps to):
//   a write or a truncation is durable once fdatasync of its file has returned, a name once fsync of its folder has;
//   until then any of them may be lost alone, the last one may be there in part, and a grown file may hold zeros.
import { basename, dirname, relative } from 'node:path';
import type { LogFs } from '../../gateway/log/fs.ts';
import { failure } from '../gateway/log/records.ts';

interface Inode {
  readonly id: string;
  live: Buffer;
  durable: Buffer;
}

type Op =
  | { readonly kind: 'write'; readonly inode: Inode; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly inode: Inode; readonly sizeBytes: number }
  | { readonly kind: 'link'; readonly inode: Inode; readonly name: string }
  | { readonly kind: 'unlink'; readonly name: string }
  | { readonly kind: 'rename'; readonly inode: Inode; readonly from: string; readonly to: string };

/** One outcome of a power cut. */
export interface PowerCut {
  /** e.g. 'none of 3', 'first 2 of 3', 'all but 1 of 3' */
  readonly name: string;
  readonly disk: MemoryDisk;
}

const FREE_BYTES = 1024 ** 3;
let inodes = 0;

function newInode(bytes: Uint8Array): Inode {
  return { id: String(inodes++), live: Buffer.from(bytes), durable: Buffer.from(bytes) };
}

function written(before: Buffer, at: number, bytes: Uint8Array): Buffer {
  const after = Buffer.alloc(Math.max(before.length, at + bytes.length));
  before.copy(after);
  after.set(bytes, at);
  return after;
}

function resized(before: Buffer, sizeBytes: number): Buffer {
  const after = Buffer.alloc(sizeBytes);
  before.copy(after);
  return after;
}

export class MemoryDisk {
  readonly #folders = new Set<string>();
  readonly #names = new Map<string, Inode>();
  readonly #durableNames = new Map<string, Inode>();
  #pending: Op[] = [];
  readonly #open = new Map<number, Inode>();
  #nextFd = 3;
  #syncs = 0;

  /** A disk that holds these files, all durable. Names are relative to the data directory. */
  static of(files: ReadonlyMap<string, Uint8Array>): MemoryDisk {
    const disk = new MemoryDisk();
    for (const [name, bytes] of files) {
      const inode = newInode(bytes);
      disk.#names.set(name, inode);
      disk.#durableNames.set(name, inode);
      disk.#folders.add(dirname(name));
    }
    return disk;
  }

  /** What a reader sees now. */
  files(): Map<string, Uint8Array> {
    return new Map(
      [...this.#names].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, { live }]) => [name, live]),
    );
  }

  /** What is there when the power goes now and nothing unsynced had reached the disk. */
  durableFiles(): Map<string, Uint8Array> {
    return new Map(
      [...this.#durableNames]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, { durable }]) => [name, durable]),
    );
  }

  /** What a sync would still bring to the disk, in words: two disks with equal files may differ in it. */
  get unsynced(): string[] {
    return this.#pending.map((op) => {
      if (op.kind === 'write') return `write ${op.at} ${op.bytes.length} ${op.inode.live.length}`;
      if (op.kind === 'truncate') return `truncate ${op.sizeBytes} ${op.inode.live.length}`;
      return op.kind === 'rename' ? `rename ${op.from} ${op.to}` : `${op.kind} ${op.name}`;
    });
  }

  /** The same disk, on its own: what the next process finds after a kill. */
  fork(): MemoryDisk {
    return this.#with(this.#pending, false);
  }

  /**
   * Every outcome of a power cut now, of: nothing unsynced is there, all of it, each beginning of it, each such beginning
   * with its last write torn, all but one, one alone, and grown files whose bytes never came.
   */
  *powerCuts(): Generator<PowerCut> {
    const ops = this.#pending;
    const count = ops.length;
    const cut = (name: string, kept: readonly Op[]): PowerCut => ({ name, disk: this.#with(kept, true) });
    yield cut(`none of ${count}`, []);
    if (count === 0) return;
    yield cut(`all ${count}`, ops);
    yield cut(`zeros for all ${count}`, ops.map(asZeros));
    for (let kept = 1; kept <= count; kept++) {
      if (kept < count) yield cut(`first ${kept} of ${count}`, ops.slice(0, kept));
      const last = ops[kept - 1]!;
      if (last.kind !== 'write' || last.bytes.length < 2) continue;
      const half = { ...last, bytes: last.bytes.subarray(0, last.bytes.length >> 1) };
      yield cut(`first ${kept} of ${count}, the last one torn`, [...ops.slice(0, kept - 1), half]);
    }
    if (count === 1) return;
    for (let index = 0; index < count; index++) {
      yield cut(
        `all but number ${index} of ${count}`,
        ops.filter((_, other) => other !== index),
      );
      yield cut(`number ${index} of ${count} alone`, [ops[index]!]);
    }
  }

  /** `settled`: the kept operations are durable and the rest never happened. Else they stay unsynced. */
  #with(kept: readonly Op[], settled: boolean): MemoryDisk {
    const next = new MemoryDisk();
    const copies = new Map<Inode, Inode>();
    const copy = (inode: Inode): Inode => {
      const known = copies.get(inode);
      if (known) return known;
      const made = { id: inode.id, live: settled ? inode.durable : inode.live, durable: inode.durable };
      copies.set(inode, made);
      return made;
    };
    for (const folder of this.#folders) next.#folders.add(folder);
    for (const [name, inode] of this.#durableNames) next.#durableNames.set(name, copy(inode));
    for (const [name, inode] of settled ? this.#durableNames : this.#names)
      next.#names.set(name, copy(inode));
    const ops = kept.map((op) => ('inode' in op ? { ...op, inode: copy(op.inode) } : op));
    if (!settled) {
      next.#pending = ops;
      return next;
    }
    for (const op of ops) {
      next.#applyLive(op);
      next.#applyDurable(op);
    }
    return next;
  }

  #applyLive(op: Op): void {
    if (op.kind === 'write') op.inode.live = written(op.inode.live, op.at, op.bytes);
    else if (op.kind === 'truncate') op.inode.live = resized(op.inode.live, op.sizeBytes);
    else applyName(this.#names, op);
  }

  #applyDurable(op: Op): void {
    if (op.kind === 'write') op.inode.durable = written(op.inode.durable, op.at, op.bytes);
    else if (op.kind === 'truncate') op.inode.durable = resized(op.inode.durable, op.sizeBytes);
    else applyName(this.#durableNames, op);
  }

  #do(op: Op): void {
    this.#applyLive(op);
    this.#pending.push(op);
  }

  #settle(isDue: (op: Op) => boolean, keep: boolean): void {
    const due = this.#pending.filter(isDue);
    this.#pending = this.#pending.filter((op) => !isDue(op));
    if (keep) for (const op of due) this.#applyDurable(op);
  }

  /** A second name for a file, as link(2) makes it. Both relative to the data directory. */
  link(from: string, to: string): void {
    this.#do({ kind: 'link', inode: this.#named(from), name: to });
  }

  #inode(fd: number): Inode {
    const inode = this.#open.get(fd);
    if (!inode) throw failure('EBADF');
    return inode;
  }

  #named(name: string): Inode {
    const inode = this.#names.get(name);
    if (!inode) throw failure('ENOENT');
    return inode;
  }

  /**
   * What Linux does after a failed write-back: the pages count as clean, readers still see them, and no later sync
   * brings them to the disk.
   */
  forgetUnsynced(fd: number): void {
    const inode = this.#inode(fd);
    const isContent = (op: Op) => op.kind === 'write' || op.kind === 'truncate';
    this.#settle((op) => isContent(op) && op.inode === inode, false);
  }

  /** The disk as the log's port. Calls take effect when they are made; all but writes answer in a later microtask. */
  port(dataDir: string): LogFs {
    const nameOf = (path: string) => relative(dataDir, path);
    return {
      open: async (path, mode) => {
        const name = nameOf(path);
        if (mode === 'create') {
          if (this.#names.has(name)) throw failure('EEXIST');
          const inode = newInode(Buffer.alloc(0));
          this.#do({ kind: 'link', inode, name });
        }
        const fd = this.#nextFd++;
        this.#open.set(fd, this.#named(name));
        return fd;
      },
      close: async (fd) => {
        this.#inode(fd);
        this.#open.delete(fd);
      },
      pwrite: (fd, bytes, start, length, position, done) => {
        const inode = this.#inode(fd);
        const copy = Buffer.from(bytes.subarray(start, start + length));
        this.#do({ kind: 'write', inode, at: position, bytes: copy });
        // At once, as small writes are (gateway/log/direct-io.ts).
        done(null, length);
      },
      fdatasync: (fd, done, atOnce) => {
        const inode = this.#inode(fd);
        this.#settle((op) => (op.kind === 'write' || op.kind === 'truncate') && op.inode === inode, true);
        // Where it may, every other time at once (gateway/log/direct-sync.ts).
        if (atOnce && this.#syncs++ % 2 === 0) done(null);
        else queueMicrotask(() => done(null));
      },
      pread: async (fd, into, start, length, position) => {
        const { live } = this.#inode(fd);
        return live.copy(
          into,
          start,
          Math.min(position, live.length),
          Math.min(position + length, live.length),
        );
      },
      ftruncate: async (fd, sizeBytes) => this.#do({ kind: 'truncate', inode: this.#inode(fd), sizeBytes }),
      stat: async (path) => {
        const { id, live } = this.#named(nameOf(path));
        return { sizeBytes: live.length, createdMs: 0, modifiedMs: 0, fileId: id };
      },
      freeBytes: async () => FREE_BYTES,
      readdir: async (path) => {
        const folder = nameOf(path);
        if (!this.#folders.has(folder)) throw failure('ENOENT');
        return [...this.#names.keys()]
          .filter((name) => dirname(name) === folder)
          .map((name) => basename(name));
      },
      rename: async (from, to) => {
        this.#do({ kind: 'rename', inode: this.#named(nameOf(from)), from: nameOf(from), to: nameOf(to) });
      },
      unlink: async (path) => {
        this.#named(nameOf(path));
        this.#do({ kind: 'unlink', name: nameOf(path) });
      },
      mkdir: async (path) => {
        for (let folder = nameOf(path); folder !== '' && folder !== '.'; folder = dirname(folder))
          this.#folders.add(folder);
      },
      syncDirectory: async (path) => {
        const folder = nameOf(path);
        const inFolder = (name: string) => dirname(name) === folder;
        this.#settle(
          (op) =>
            ((op.kind === 'link' || op.kind === 'unlink') && inFolder(op.name)) ||
            (op.kind === 'rename' && (inFolder(op.from) || inFolder(op.to))),
          true,
        );
      },
    };
  }
}

function applyName(names: Map<string, Inode>, op: Exclude<Op, { kind: 'write' | 'truncate' }>): void {
  if (op.kind === 'link') names.set(op.name, op.inode);
  else if (op.kind === 'unlink') names.delete(op.name);
  else {
    // Where the name's own creation was lost, there is nothing to rename; another folder has the new name of its own.
    const inode = names.get(op.from) ?? (dirname(op.from) === dirname(op.to) ? undefined : op.inode);
    if (!inode) return;
    names.delete(op.from);
    names.set(op.to, inode);
  }
}

/** The file has grown, its bytes have not come. */
function asZeros(op: Op): Op {
  if (op.kind !== 'write') return op;
  const known = Math.max(0, Math.min(op.bytes.length, op.inode.durable.length - op.at));
  const bytes = Buffer.alloc(op.bytes.length);
  if (known > 0) op.inode.durable.copy(bytes, 0, op.at, op.at + known);
  return { ...op, bytes };
}
