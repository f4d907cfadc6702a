// Owns the file `log/clean`, which says that the last run closed the log and how it left it. Its absence means a
// crash, so it is removed, durably, before anything is appended.
import { join } from 'node:path';
import { isMissing, type LogFs, readSmallFile, replaceFile } from './fs.ts';

const NAME = 'clean';

export interface CleanShutdown {
  /** Base offset of the last segment and its size in bytes. */
  readonly segment: number;
  readonly sizeBytes: number;
  /** End of the log. */
  readonly end: number;
}

/** The marker, or null when there is none that can be read. */
export async function readShutdownMarker(fs: LogFs, folder: string): Promise<CleanShutdown | null> {
  const bytes = await readSmallFile(fs, join(folder, NAME), 4096).catch((error: unknown) => {
    if (error instanceof RangeError) return null;
    throw error;
  });
  if (bytes === null) return null;
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value !== 'object' || value === null) return null;
    const { version, segment, sizeBytes, end } = value as Record<string, unknown>;
    const whole = [segment, sizeBytes, end].every(
      (part) => Number.isSafeInteger(part) && (part as number) >= 0,
    );
    return version === 1 && whole ? ({ segment, sizeBytes, end } as CleanShutdown) : null;
  } catch {
    return null;
  }
}

export async function removeShutdownMarker(fs: LogFs, folder: string): Promise<void> {
  try {
    await fs.unlink(join(folder, NAME));
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  await fs.syncDirectory(folder);
}

/** A crash before it is in place only makes the next start look at the tail more suspiciously. */
export async function writeShutdownMarker(fs: LogFs, folder: string, shutdown: CleanShutdown): Promise<void> {
  await replaceFile(fs, join(folder, NAME), Buffer.from(`${JSON.stringify({ version: 1, ...shutdown })}\n`));
}
