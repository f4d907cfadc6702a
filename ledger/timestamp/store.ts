// Timestamps on disk: `<data directory>/timestamps/<size>.tsr` beside the signed checkpoint it stamps. Believes a pair only
// as far as whoever verifies it.
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

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
  return names
    .filter((name) => /^[1-9]\d{0,15}\.tsr$/.test(name))
    .map((name) => Number(name.slice(0, -4)))
    .sort((a, b) => a - b);
}

export function readTimestamp(dataDir: string, size: number): StoredTimestamp {
  const path = join(timestampsDir(dataDir), String(size));
  return { size, note: readFileSync(`${path}.checkpoint`, 'utf8'), token: readFileSync(`${path}.tsr`) };
}
