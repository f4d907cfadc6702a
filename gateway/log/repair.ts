// `fsck --repair` for the log: cuts a torn tail, makes indexes again, finishes or undoes an interrupted rewrite. Every byte it
// cuts or writes over is copied to the side first. Refuses to touch damage: what cannot be read but is not torn stays.
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { datasync, isMissing, type LogFs, readFully, readSmallFile, realFs, writeFully } from './fs.ts';
import { replaceIndexFiles } from './index-files.ts';
import { inspectSegment } from './inspect.ts';
import { isSoundKeyIndex } from './key-index-file.ts';
import { listSegments, logFolder, segmentFile } from './layout.ts';
import { MAX_TORN_BYTES } from './recovery.ts';
import { clearOrphans, settleRewrite } from './retention/settle.ts';
import { MAX_INDEX_BYTES } from './segment-index.ts';
import { readShutdownMarker } from './shutdown-marker.ts';

export interface Repair {
  /** Relative to the data directory. */
  readonly file: string;
  /** One sentence. */
  readonly what: string;
  /** Where the bytes of before are, relative to the data directory; null where none were changed. */
  readonly saved: string | null;
}

const COPY_BYTES = 1024 * 1024;

/** `<dataDir>/repair-<time>/`, made when the first byte is saved into it. */
export class SideFolder {
  readonly name: string;
  readonly #dataDir: string;
  readonly #fs: LogFs;

  constructor(dataDir: string, nowMs: number, fs: LogFs = realFs) {
    this.name = `repair-${new Date(nowMs).toISOString().replaceAll(/[:.]/g, '-')}`;
    this.#dataDir = dataDir;
    this.#fs = fs;
  }

  /** Copies a file from byte `from` on, durably; null where there is no such file. */
  async save(path: string, from = 0): Promise<string | null> {
    const saved = `${this.name}/${path}${from > 0 ? `.from-byte-${from}` : ''}`;
    const target = join(this.#dataDir, saved);
    let source: number;
    try {
      source = await this.#fs.open(join(this.#dataDir, path), 'read');
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
    try {
      await this.#fs.mkdir(dirname(target));
      const fd = await this.#fs.open(target, 'create');
      try {
        const buffer = Buffer.alloc(COPY_BYTES);
        for (let at = 0; ; ) {
          const read = await readFully(this.#fs, source, buffer, buffer.length, from + at);
          if (read === 0) break;
          await writeFully(this.#fs, fd, buffer.subarray(0, read), at);
          at += read;
        }
        await datasync(this.#fs, fd);
      } finally {
        await this.#fs.close(fd);
      }
    } finally {
      await this.#fs.close(source);
    }
    await this.#fs.syncDirectory(dirname(target));
    return saved;
  }
}

export interface RepairLogOptions {
  readonly dataDir: string;
  readonly side: SideFolder;
  readonly indexIntervalBytes: number;
  /** One past the last offset the ledger covers: an unreadable tail below it is damage. */
  readonly sealedEnd: number;
  readonly fs?: LogFs;
}

/** Call under the lock of the data directory. Errors of the disk come through as they are. */
export async function repairLog(options: RepairLogOptions): Promise<Repair[]> {
  const { dataDir, side, indexIntervalBytes, sealedEnd, fs = realFs } = options;
  const folder = logFolder(dataDir);
  const repairs: Repair[] = [];
  const settled = await settleRewrite(fs, folder);
  if (settled.kind === 'finished') {
    const file = `log/${segmentFile(settled.segment, 'log')}`;
    repairs.push({
      file,
      what: 'an interrupted removal of records, declared in the ledger, was finished',
      saved: null,
    });
  } else if (settled.kind === 'undone') {
    repairs.push({
      file: 'log',
      what: `unfinished drafts were removed: ${settled.drafts.join(', ')}`,
      saved: null,
    });
  }
  for (const name of await clearOrphans(fs, folder))
    repairs.push({ file: `log/${name}`, what: 'removed: its segment is gone', saved: null });
  const bases = await listSegments(fs, folder);
  const wasClosed = (await readShutdownMarker(fs, folder)) !== null;
  for (const base of bases) {
    const keys = `log/${segmentFile(base, 'keys')}`;
    if (!(await isSoundKeyIndex(fs, join(dataDir, keys)))) {
      const saved = await side.save(keys);
      await fs.unlink(join(dataDir, keys));
      repairs.push({ file: keys, what: 'a wrong key index was removed; the gateway makes it again', saved });
    }
    const inspection = await inspectSegment(fs, folder, base, indexIntervalBytes);
    const isLast = base === bases.at(-1);
    const file = `log/${segmentFile(base, 'log')}`;
    const unreadable = inspection.dataEnd - inspection.position;
    const isTorn = isLast && !wasClosed && unreadable > 0 && unreadable <= MAX_TORN_BYTES;
    if (isTorn && inspection.offset >= sealedEnd) {
      const saved = await side.save(file, inspection.position);
      await cut(join(folder, segmentFile(base, 'log')), inspection.position);
      const what = `${unreadable} bytes of an unfinished write were cut at byte ${inspection.position}; no record of them was acknowledged`;
      repairs.push({ file, what, saved });
    }
    // Where bytes cannot be read, indexes help to find where reading goes on: they stay.
    const isDamaged = inspection.damage.length > 0 || (unreadable > 0 && !isTorn);
    if (isDamaged) continue;
    const saved = await remakeIndexes(options, base, isLast);
    if (saved === 'right') continue;
    const what = 'the indexes were made again from the segment';
    repairs.push({ file: `log/${segmentFile(base, 'index')}`, what, saved });
  }
  return repairs;
}

/** Makes both indexes from every batch and puts them in place where they differ; where the old ones are now. */
async function remakeIndexes(
  { dataDir, side, indexIntervalBytes, fs = realFs }: RepairLogOptions,
  base: number,
  isLast: boolean,
): Promise<string | null | 'right'> {
  const folder = logFolder(dataDir);
  // An inspection believes index entries that its segment confirms; without index files it walks all of it.
  const blind: LogFs = {
    ...fs,
    open: (path, mode) =>
      /index$/.test(path)
        ? Promise.reject(Object.assign(new Error('hidden'), { code: 'ENOENT' }))
        : fs.open(path, mode),
  };
  const { builder } = await inspectSegment(blind, folder, base, indexIntervalBytes);
  const times = builder.closedTimeBytes();
  const isRight = async (kind: 'index' | 'timeindex', whole: Buffer) => {
    const bytes = await readSmallFile(fs, join(folder, segmentFile(base, kind)), MAX_INDEX_BYTES).catch(
      () => null,
    );
    // Of the segment written to they may still lack entries.
    return bytes === null
      ? isLast
      : whole.equals(bytes) || (isLast && whole.subarray(0, bytes.length).equals(bytes));
  };
  if ((await isRight('index', builder.offsetBytes)) && (await isRight('timeindex', times))) return 'right';
  if (!isLast) builder.addTime();
  const saved = await side.save(`log/${segmentFile(base, 'index')}`);
  const savedTimes = await side.save(`log/${segmentFile(base, 'timeindex')}`);
  await replaceIndexFiles(fs, folder, builder);
  return saved ?? savedTimes;
}

async function cut(path: string, sizeBytes: number): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.truncate(sizeBytes);
    await file.datasync();
  } finally {
    await file.close();
  }
}
