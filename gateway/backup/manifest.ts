// Owns the form of a backup: which file of the data directory lies in which object. Touches no file.
//
//   DIR/manifest.json               this, one JSON object; written last: without it nothing in DIR counts
//   DIR/objects/<2 hex>/<64 hex>    file contents, named by their SHA-256
//   DIR/incoming/                   objects not yet complete; whatever a run finds there is removed

import { CodedError } from '../../ledger/format/errors.ts';

export interface BackupFile {
  /** Below the data directory, with `/`. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Lower-case hex: also the name of the object. */
  readonly sha256: string;
  /** What the source looked like, for files that never change once they look like that; else null. */
  readonly source: { readonly sizeBytes: number; readonly modifiedMs: number; readonly inode: number } | null;
}

export interface BackupManifest {
  readonly version: 1;
  readonly kind: 'tidemark-backup';
  readonly createdMs: number;
  /** Blocks in the served checkpoint; 0 where nothing was sealed. */
  readonly checkpointSize: number;
  readonly log: { readonly start: number; readonly end: number };
  readonly withKey: boolean;
  readonly files: readonly BackupFile[];
}

export class BackupError extends CodedError<
  'NO_BACKUP' | 'BACKUP_DAMAGED' | 'TARGET_NOT_EMPTY' | 'NOT_A_DATA_DIRECTORY'
> {
  override name = 'BackupError';
}

export const MANIFEST_FILE = 'manifest.json';

export const objectPath = (sha256: string): string => `objects/${sha256.slice(0, 2)}/${sha256}`;

/** @throws BackupError BACKUP_DAMAGED for anything but what formatManifest writes, and for paths that lead elsewhere */
export function parseManifest(text: string): BackupManifest {
  let value: BackupManifest;
  try {
    value = JSON.parse(text) as BackupManifest;
  } catch (cause) {
    throw new BackupError('BACKUP_DAMAGED', `${MANIFEST_FILE} is not JSON`, { cause });
  }
  if (value?.version !== 1 || value.kind !== 'tidemark-backup' || !Array.isArray(value.files))
    throw new BackupError(
      'BACKUP_DAMAGED',
      `${MANIFEST_FILE} is not the manifest of a backup this tidemark knows`,
    );
  for (const file of value.files) {
    const isGood =
      typeof file?.path === 'string' &&
      file.path
        .split('/')
        .every((part: string) => /^[A-Za-z0-9_.-]{1,200}$/.test(part) && !/^\.+$/.test(part)) &&
      /^[0-9a-f]{64}$/.test(file.sha256) &&
      Number.isSafeInteger(file.sizeBytes);
    if (!isGood)
      throw new BackupError(
        'BACKUP_DAMAGED',
        `${MANIFEST_FILE} names a file that has no place in a data directory`,
        {
          facts: { path: String(file?.path).slice(0, 200) },
        },
      );
  }
  return value;
}

export function formatManifest(manifest: BackupManifest): string {
  return `${JSON.stringify(manifest, null, 1)}\n`;
}
