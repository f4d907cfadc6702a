// Finishes or undoes a rewrite of a segment that a crash interrupted, and clears away what belongs to no segment.
// Runs before anything reads or writes the log; changes nothing where no manifest and no draft lies.
//
//   log/rewrite.json   one line of JSON: {"version":1,"segment":<base offset>,"files":[{"kind","sizeBytes","sha256"},…]}
//
// The order of a rewrite, and what a crash leaves:
//
//   drafts written, synced, by name too  drafts, no manifest      they are removed: the segment is as it was
//   manifest in place, folder synced     manifest and drafts      the drafts take their places
//   old indexes removed, folder synced   manifest and drafts      the drafts take their places
//   segment renamed, folder synced       manifest, fewer drafts   the rest take their places
//   the others renamed, folder synced    manifest                 it is removed
//   manifest removed                     nothing
//
// Where the segment itself is gone it was dropped after a rewrite that failed: its drafts must not bring it back.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { isMissing, type LogFs, readFully, readSmallFile, replaceFile } from '../fs.ts';
import { segmentFile } from '../layout.ts';
import { DRAFT, type DraftFile, draftPath } from './rewrite.ts';

const MANIFEST = 'rewrite.json';
const MAX_MANIFEST_BYTES = 64 * 1024;
const READ_BYTES = 1024 * 1024;

export interface RewriteManifest {
  readonly segment: number;
  readonly files: readonly Pick<DraftFile, 'kind' | 'sizeBytes' | 'sha256'>[];
}

/** From here on the rewrite happens, whatever comes between. */
export async function writeManifest(fs: LogFs, folder: string, manifest: RewriteManifest): Promise<void> {
  // The names of the drafts first: a manifest that outlives one of them would call it already in its place.
  await fs.syncDirectory(folder);
  const files = manifest.files.map(({ kind, sizeBytes, sha256 }) => ({ kind, sizeBytes, sha256 }));
  const text = `${JSON.stringify({ version: 1, segment: manifest.segment, files })}\n`;
  await replaceFile(fs, join(folder, MANIFEST), Buffer.from(text));
}

export async function removeManifest(fs: LogFs, folder: string): Promise<void> {
  await removed(fs, join(folder, MANIFEST));
  await fs.syncDirectory(folder);
}

export type Settled =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'undone'; readonly drafts: readonly string[] }
  | { readonly kind: 'finished'; readonly segment: number };

export async function settleRewrite(fs: LogFs, folder: string): Promise<Settled> {
  const names = await namesIn(fs, folder);
  const drafts = names.filter((name) => name.endsWith(`.${DRAFT}`));
  const manifest = names.includes(MANIFEST) ? await readManifest(fs, folder) : null;
  const isWanted =
    manifest !== null &&
    names.includes(segmentFile(manifest.segment, 'log')) &&
    (await areWhole(fs, folder, manifest, drafts));
  if (isWanted) {
    await takePlaces(fs, folder, manifest, names);
    await removeManifest(fs, folder);
    return { kind: 'finished', segment: manifest.segment };
  }
  for (const name of drafts) await removed(fs, join(folder, name));
  if (names.includes(MANIFEST)) await removeManifest(fs, folder);
  return drafts.length > 0 ? { kind: 'undone', drafts } : { kind: 'nothing' };
}

/** As `RolledSegments.replace` does it: no index may meet a segment that it does not point into. */
async function takePlaces(
  fs: LogFs,
  folder: string,
  { segment, files }: RewriteManifest,
  names: readonly string[],
): Promise<void> {
  const nameOf = (kind: string) => segmentFile(segment, 'log').replace(/log$/, kind);
  const isDraft = (kind: string) =>
    names.some((name) => join(folder, name) === draftPath(folder, segment, kind));
  const rename = (kind: string) => fs.rename(draftPath(folder, segment, kind), join(folder, nameOf(kind)));
  if (isDraft('log')) {
    const stem = nameOf('');
    for (const name of names)
      if (name.startsWith(stem) && /^[a-z]+$/.test(name.slice(stem.length)) && name !== nameOf('log'))
        await removed(fs, join(folder, name));
    await fs.syncDirectory(folder);
    await rename('log');
    await fs.syncDirectory(folder);
  }
  for (const { kind } of files) if (kind !== 'log' && isDraft(kind)) await rename(kind);
  await fs.syncDirectory(folder);
}

/**
 * Removes indexes and leaf hashes whose segment is gone: a crash came between the removal of one and the other.
 * Returns their names.
 */
export async function clearOrphans(fs: LogFs, folder: string): Promise<string[]> {
  const names = await namesIn(fs, folder);
  const segments = new Set(
    names.filter((name) => /^\d{20}\.log$/.test(name)).map((name) => name.slice(0, 20)),
  );
  // Without any segment nobody can say what belongs to what.
  if (segments.size === 0) return [];
  const orphans = names.filter(
    (name) => /^\d{20}\.(index|timeindex|keys|leaves)$/.test(name) && !segments.has(name.slice(0, 20)),
  );
  for (const name of orphans) await removed(fs, join(folder, name));
  return orphans;
}

async function readManifest(fs: LogFs, folder: string): Promise<RewriteManifest | null> {
  const bytes = await readSmallFile(fs, join(folder, MANIFEST), MAX_MANIFEST_BYTES);
  try {
    const value = JSON.parse(bytes?.toString('utf8') ?? '') as { version?: unknown } & RewriteManifest;
    const isWhole =
      value.version === 1 &&
      Number.isSafeInteger(value.segment) &&
      value.files.every(({ kind, sizeBytes }) => /^[a-z]+$/.test(kind) && Number.isSafeInteger(sizeBytes));
    return isWhole ? value : null;
  } catch {
    return null;
  }
}

/** Each file is still a whole draft, or already in its place. Once the segment itself is, nothing is turned back. */
async function areWhole(
  fs: LogFs,
  folder: string,
  manifest: RewriteManifest,
  drafts: readonly string[],
): Promise<boolean> {
  for (const { kind, sizeBytes, sha256 } of manifest.files) {
    const path = draftPath(folder, manifest.segment, kind);
    if (!drafts.some((name) => join(folder, name) === path)) {
      if (kind === 'log') return true;
      continue;
    }
    if ((await fs.stat(path)).sizeBytes !== sizeBytes || (await sha256Of(fs, path)) !== sha256) return false;
  }
  return true;
}

async function sha256Of(fs: LogFs, path: string): Promise<string> {
  const sha = createHash('sha256');
  const buffer = Buffer.alloc(READ_BYTES);
  const fd = await fs.open(path, 'read');
  try {
    for (let at = 0; ; ) {
      const read = await readFully(fs, fd, buffer, buffer.length, at);
      if (read === 0) return sha.digest('hex');
      sha.update(buffer.subarray(0, read));
      at += read;
    }
  } finally {
    await fs.close(fd);
  }
}

async function namesIn(fs: LogFs, folder: string): Promise<string[]> {
  try {
    return await fs.readdir(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

async function removed(fs: LogFs, path: string): Promise<void> {
  try {
    await fs.unlink(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}
