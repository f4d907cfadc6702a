// Makes a data directory from a backup, every file checked against its hash first. Refuses a target that holds
// anything; leaves nothing behind where it fails.
import { mkdir, readdir, readFile, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isMissing } from '../log/fs.ts';
import { BackupError, type BackupManifest, MANIFEST_FILE, objectPath, parseManifest } from './manifest.ts';
import { copyHashed, syncFolder } from './objects.ts';

export interface RestoreOptions {
  /** The backup. */
  readonly source: string;
  /** Must not exist, or be empty. */
  readonly dataDir: string;
  readonly onProgress?: (path: string) => void;
}

/** @throws BackupError */
export async function restore({ source, dataDir, onProgress }: RestoreOptions): Promise<BackupManifest> {
  let text: string;
  try {
    text = await readFile(join(source, MANIFEST_FILE), 'utf8');
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new BackupError('NO_BACKUP', `${source} holds no complete backup: there is no ${MANIFEST_FILE}`, {
      hint: 'name a folder that `tidemark backup` has written to its end',
    });
  }
  const manifest = parseManifest(text);
  const present = await readdir(dataDir).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });
  if (present && present.length > 0)
    throw new BackupError('TARGET_NOT_EMPTY', `${dataDir} is not empty`, {
      hint: 'restore into a new data directory, then point the configuration at it',
    });
  const draft = `${dataDir}.restoring`;
  await rm(draft, { recursive: true, force: true });
  try {
    const folders = new Set([draft]);
    for (const file of manifest.files) {
      onProgress?.(file.path);
      const target = join(draft, file.path);
      await mkdir(dirname(target), { recursive: true, mode: 0o750 });
      folders.add(dirname(target));
      const object = join(source, objectPath(file.sha256));
      const mode = file.path === 'gateway.key' || file.path === 'access.db' ? 0o600 : 0o640;
      const copied = await copyHashed(object, target, file.sizeBytes + 1, mode).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
        throw damaged(file.path, 'its object is missing');
      });
      if (copied.sha256 !== file.sha256) throw damaged(file.path, 'its object was changed');
    }
    await mkdir(join(draft, 'log'), { recursive: true, mode: 0o750 });
    for (const folder of folders) await syncFolder(folder);
    if (present) await rmdir(dataDir);
    await rename(draft, dataDir);
    await syncFolder(dirname(dataDir));
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
  return manifest;
}

function damaged(path: string, why: string): BackupError {
  return new BackupError('BACKUP_DAMAGED', `the backup of ${path} cannot be used: ${why}`, {
    facts: { path },
  });
}
