// What a process did to the files below a folder, from strace's account, onto disks that know what a power cut may take.
// Knows the system calls of node:fs and SQLite on the main thread; refuses a trace with others.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { LogFs } from '../../../gateway/log/fs.ts';
import { MemoryDisk } from '../../fault/memory-disk.ts';

/** What the process has promised by now. */
export type Mark =
  | { readonly kind: 'gateway key'; readonly key: string }
  | { readonly kind: 'authority key'; readonly key: string }
  /** The gateway has put this key in force. */
  | { readonly kind: 'rotated'; readonly key: string }
  /** A checkpoint text that the gateway has put its signature to. */
  | { readonly kind: 'signed'; readonly text: string }
  /** The gateway has stored its signed checkpoint of this size. */
  | { readonly kind: 'stored'; readonly size: number }
  /** The gateway has stored that this size is final. */
  | { readonly kind: 'remembered'; readonly size: number }
  /** A cosignature of this size and root has left the authority. */
  | { readonly kind: 'answered'; readonly size: number; readonly root: string };

export type Call =
  | { readonly kind: 'open'; readonly fd: number; readonly path: string; readonly flags: string }
  | { readonly kind: 'write'; readonly fd: number; readonly bytes: Buffer; readonly at: number | null }
  | { readonly kind: 'sync'; readonly fd: number }
  | { readonly kind: 'close'; readonly fd: number }
  | { readonly kind: 'truncate'; readonly fd: number; readonly sizeBytes: number }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string }
  | { readonly kind: 'link'; readonly from: string; readonly to: string }
  | { readonly kind: 'unlink'; readonly path: string }
  | { readonly kind: 'mkdir'; readonly path: string };

const TRACED =
  'openat,pwrite64,write,writev,pwritev,fsync,fdatasync,ftruncate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,close';

/** Runs `node SCRIPT FOLDER …arguments` and gives back its calls below the folder. The folder is removed. */
export function traced(script: string, given: readonly string[]): Call[] {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-power-'));
  try {
    const out = join(folder, 'strace.txt');
    const options = ['-xx', '-s', '16777216', '-o', out, '-e', `trace=${TRACED}`];
    const ran = spawnSync('strace', [...options, process.execPath, script, folder, ...given], {
      encoding: 'utf8',
      timeout: 240_000,
    });
    if (ran.status !== 0) throw new Error(`${script} ended with ${ran.status ?? ran.signal}: ${ran.stderr}`);
    return callsIn(readFileSync(out, 'latin1'), folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const LINE = /^(\w+)\((.*)\) += (-?\d+)/;

function callsIn(text: string, folder: string): Call[] {
  const open = new Set<number>();
  const inside = (path: string) => !relative(folder, path).startsWith('..');
  return text.split('\n').flatMap((line): Call[] => {
    const [, name, given, result] = LINE.exec(line) ?? [];
    if (name === undefined || result!.startsWith('-')) return [];
    const strings = [...given!.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, hex]) => bytesOf(hex!));
    const path = (at: number) => relative(folder, strings[at]!.toString());
    const numbers = given!.replaceAll(/"[^"]*"/g, '').split(',');
    const fd = Number(numbers[0]);
    if (name === 'openat') {
      if (!inside(strings[0]!.toString())) return [];
      open.add(Number(result));
      return [{ kind: 'open', fd: Number(result), path: path(0), flags: numbers[2]! }];
    }
    if (/^(rename|link|unlink|mkdir)/.test(name)) {
      if (!strings.every((one) => inside(one.toString()))) return [];
      const kind = /^(rename|link|unlink|mkdir)/.exec(name)![0] as 'rename' | 'link' | 'unlink' | 'mkdir';
      if (kind === 'rename' || kind === 'link') return [{ kind, from: path(0), to: path(1) }];
      return [{ kind, path: path(0) }];
    }
    if (!open.has(fd)) return [];
    if (name === 'close') {
      open.delete(fd);
      return [{ kind: 'close', fd }];
    }
    if (name === 'fsync' || name === 'fdatasync') return [{ kind: 'sync', fd }];
    if (name === 'ftruncate') return [{ kind: 'truncate', fd, sizeBytes: Number(numbers[1]) }];
    if (name !== 'write' && name !== 'pwrite64') throw new Error(`${name} on a file that is followed`);
    const bytes = strings[0]!.subarray(0, Number(result));
    return [{ kind: 'write', fd, bytes, at: name === 'write' ? null : Number(numbers[3]) }];
  });
}

const bytesOf = (escaped: string): Buffer => Buffer.from(escaped.replaceAll('\\x', ''), 'hex');

interface OpenFile {
  readonly path: string;
  /** In the disk; null for a folder, and for what no restart reads. */
  readonly fd: number | null;
  position: number;
}

/** A machine's disk, call by call. Its files are named relative to the traced folder. */
export class ReplayedDisk {
  readonly disk = new MemoryDisk();
  readonly #port: LogFs = this.disk.port('/');
  readonly #open = new Map<number, OpenFile>();

  async apply(call: Call): Promise<void> {
    const port = this.#port;
    if (call.kind === 'open') return this.#opened(call);
    if (call.kind === 'rename') return port.rename(`/${call.from}`, `/${call.to}`);
    if (call.kind === 'link') return this.disk.link(call.from, call.to);
    if (call.kind === 'mkdir') return port.mkdir(`/${call.path}`);
    if (call.kind === 'unlink') return isKept(call.path) ? port.unlink(`/${call.path}`) : undefined;
    const file = this.#open.get(call.fd)!;
    if (call.kind === 'close') this.#open.delete(call.fd);
    if (file.fd === null) return call.kind === 'sync' ? port.syncDirectory(`/${file.path}`) : undefined;
    const { fd } = file;
    if (call.kind === 'close') await port.close(fd);
    else if (call.kind === 'sync') await new Promise((resolve) => port.fdatasync(fd, resolve));
    else if (call.kind === 'truncate') await port.ftruncate(fd, call.sizeBytes);
    else {
      const at = call.at ?? file.position;
      if (call.at === null) file.position += call.bytes.length;
      await new Promise((resolve) => port.pwrite(fd, call.bytes, 0, call.bytes.length, at, resolve));
    }
  }

  async #opened({ fd, path, flags }: Extract<Call, { kind: 'open' }>): Promise<void> {
    const file = { path, fd: null as number | null, position: 0 };
    if (isKept(path) && !flags.includes('O_DIRECTORY')) {
      const isThere = this.disk.files().has(path);
      if (isThere || flags.includes('O_CREAT'))
        file.fd = await this.#port.open(`/${path}`, isThere ? 'write' : 'create');
      if (isThere && flags.includes('O_TRUNC')) await this.#port.ftruncate(file.fd!, 0);
    }
    this.#open.set(fd, file);
  }
}

/** The index of a write-ahead log is memory that two processes share; SQLite makes it anew after a crash. */
const isKept = (path: string): boolean => !path.endsWith('-shm');
