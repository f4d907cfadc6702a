// Timestamps on disk: `<data directory>/timestamps/<size>.tsr` beside the signed checkpoint it stamps. Believes a pair only
// as far as whoever verifies it.
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_TOKEN_BYTES } from './token.ts';

export interface StoredTimestamp {
  /** Blocks of the checkpoint. */
  readonly size: number;
  /** The signed note as it was. */
  readonly note: string;
  /** TimeStampResp, DER. */
  readonly token: Buffer;
}

export const timestampsDir = (dataDir: string): string => join(dataDir, 'timestamps');

/** The token is written last: without it there is no timestamp. */
export function storeTimestamp(dataDir: string, { size, note, token }: StoredTimestamp): void {
  const folder = timestampsDir(dataDir);
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of [
    [`${size}.checkpoint`, note],
    [`${size}.tsr`, token],
  ] as const) {
    const path = join(folder, name);
    writeFileSync(`${path}.new`, content, { flush: true });
    renameSync(`${path}.new`, path);
  }
}

/** Sizes that have a timestamp, ascending. */
export function timestampSizes(dataDir: string): number[] {
  let names: string[];
  try {
    names = readdirSync(timestampsDir(dataDir));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return sizesIn(names);
}

const sizesIn = (names: readonly string[]): number[] =>
  names
    .filter((name) => /^[1-9]\d{0,15}\.tsr$/.test(name))
    .map((name) => Number(name.slice(0, -4)))
    .sort((a, b) => a - b);

export function readTimestamp(dataDir: string, size: number): StoredTimestamp {
  const path = join(timestampsDir(dataDir), String(size));
  return { size, note: readFileSync(`${path}.checkpoint`, 'utf8'), token: readFileSync(`${path}.tsr`) };
}

export interface ShownTimestamp extends Omit<StoredTimestamp, 'note'> {
  /** Null where it is not there. */
  readonly note: string | null;
}

/** At most `limit` of those of fewer than `before` blocks, that of the most first; for a thread that has others to serve. */
export async function timestampPage(
  dataDir: string,
  before: number,
  limit: number,
): Promise<ShownTimestamp[]> {
  const names = (await absent(readdir(timestampsDir(dataDir)))) ?? [];
  const sizes = sizesIn(names).filter((size) => size < before);
  const page: ShownTimestamp[] = [];
  for (const size of sizes.reverse().slice(0, limit)) {
    const path = join(timestampsDir(dataDir), String(size));
    const token = await absent(bounded(`${path}.tsr`));
    const note = await absent(bounded(`${path}.checkpoint`));
    if (token) page.push({ size, token, note: note?.toString('utf8') ?? null });
  }
  return page;
}

/** One byte more than a timestamp may have, of a file that has more: whoever verifies it will say so. */
async function bounded(path: string): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const bytes = Buffer.alloc(MAX_TOKEN_BYTES + 1);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    return Buffer.from(bytes.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}

function absent<T>(reading: Promise<T>): Promise<T | null> {
  return reading.catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  });
}
