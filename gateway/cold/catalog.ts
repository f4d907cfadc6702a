// Owns what is known here of the cold tier: one manifest a segment, `<dataDir>/cold/<base offset>.json`, the same text as in
// the store beside the segment's files. A segment counts as cold only with a manifest here. Moves no data.
//
//   {"version":1,"segment":<base offset>,"end":<one past its last offset>,"files":[{"kind","sizeBytes","sha256"},…]}
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing } from '../log/fs.ts';
import { syncFolder } from './sync-folder.ts';

export interface ColdFile {
  readonly kind: string;
  readonly sizeBytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

export interface ColdManifest {
  readonly version: 1;
  readonly segment: number;
  readonly end: number;
  readonly files: readonly ColdFile[];
}

export const stemOf = (baseOffset: number): string => String(baseOffset).padStart(20, '0');

export function formatColdManifest(manifest: ColdManifest): string {
  return `${JSON.stringify(manifest)}\n`;
}

export function parseColdManifest(text: string): ColdManifest | null {
  try {
    const value = JSON.parse(text) as ColdManifest;
    const isWhole =
      value.version === 1 &&
      Number.isSafeInteger(value.segment) &&
      Number.isSafeInteger(value.end) &&
      value.files.every(
        ({ kind, sizeBytes, sha256 }) =>
          /^[a-z]+$/.test(kind) && Number.isSafeInteger(sizeBytes) && /^[0-9a-f]{64}$/.test(sha256),
      );
    return isWhole ? value : null;
  } catch {
    return null;
  }
}

export class ColdCatalog {
  readonly #folder: string;
  #known = new Map<number, ColdManifest>();
  #names = '';

  constructor(dataDir: string) {
    this.#folder = join(dataDir, 'cold');
  }

  /** Manifests by base offset, ascending; those that cannot be read are left out. */
  async load(): Promise<ReadonlyMap<number, ColdManifest>> {
    let names: string[];
    try {
      names = (await readdir(this.#folder)).filter((name) => /^\d{20}\.json$/.test(name)).sort();
    } catch (error) {
      if (isMissing(error)) return this.#known;
      throw error;
    }
    const joined = names.join();
    if (joined === this.#names) return this.#known;
    const known = new Map<number, ColdManifest>();
    for (const name of names) {
      const base = Number(name.slice(0, 20));
      const manifest =
        this.#known.get(base) ?? parseColdManifest(await readFile(join(this.#folder, name), 'utf8'));
      if (manifest?.segment === base) known.set(base, manifest);
    }
    this.#known = known;
    this.#names = joined;
    return known;
  }

  /** From here on the segment counts as cold. */
  async add(manifest: ColdManifest): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o750 });
    const path = join(this.#folder, `${stemOf(manifest.segment)}.json`);
    await writeFile(`${path}.new`, formatColdManifest(manifest), { flush: true });
    await rename(`${path}.new`, path);
    await syncFolder(this.#folder);
  }
}
