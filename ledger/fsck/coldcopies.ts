// Segments of which only the cold tier has a copy, as the checker sees them: which there are by the manifests in the data
// directory, fetched one at a time to a place of its own and compared with their SHA-256. Shares nothing with the gateway's
// own reading of them; how a copy is reached is handed in.
import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormatError } from '../format/errors.ts';
import { decodeLeaves, type LeafRun } from '../format/leaves.ts';
import type { Findings } from './findings.ts';
import { listSegments, type SegmentFile } from './segments.ts';

export interface ColdAccess {
  /** Fetches a copy into a new file; false where there is none of that name. Rejects where the tier does not answer. */
  fetch(name: string, path: string): Promise<boolean>;
}

interface ColdFile {
  readonly kind: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

export interface ColdSegment {
  readonly baseOffset: number;
  /** One past its last offset. */
  readonly end: number;
  readonly files: readonly ColdFile[];
}

/** Without these, records or their proofs are lost; the others are indexes. */
const KEPT_FOR_PROOF = new Set(['log', 'leaves']);
const MANIFEST = /^(\d{20})\.json$/;

/** What a check can see of the cold tier; reports each copy at fault once. */
export class ColdCopies {
  /** Those before the first local segment, without a hole up to it, oldest first; none where the tier cannot be reached. */
  readonly segments: readonly ColdSegment[];
  readonly #access: ColdAccess | null;
  readonly #findings: Findings;
  readonly #reported = new Set<string>();
  #folder: string | null = null;
  #fetched: { readonly name: string; readonly path: string | null } | null = null;

  /** @param access null where nobody said how the tier is reached */
  constructor(dataDir: string, access: ColdAccess | null, findings: Findings) {
    this.#access = access;
    this.#findings = findings;
    const known = readManifests(dataDir, findings);
    const start = listSegments(dataDir)[0]?.baseOffset ?? null;
    const reachable = upTo(known, start);
    this.segments = access ? reachable : [];
    const away = known.filter(({ end }) => start === null || end <= start);
    if (!access && away.length > 0)
      findings.add(
        'note',
        'COLD_NOT_READ',
        { file: 'cold' },
        `${away.length} segments up to offset ${away.at(-1)!.end - 1} are in the cold tier only and were not looked at: give the gateway’s configuration (--config)`,
        { segments: away.length },
      );
    const cutOff = away.length - reachable.length;
    if (access && cutOff > 0)
      findings.add(
        'warning',
        'COLD_MISSING',
        { file: 'cold' },
        `nothing reads ${cutOff} segments before offset ${reachable[0]?.baseOffset ?? start}: between them and the rest the manifest of a segment is missing; ${fromStore}`,
        { segments: cutOff },
      );
  }

  /** The segment's log in a file here, also when it is not what was copied; null where there is none. */
  async log(segment: ColdSegment): Promise<SegmentFile | null> {
    const name = nameOf(segment, 'log');
    const path = await this.#fetch(segment, 'log');
    return path === null ? null : { name, path, baseOffset: segment.baseOffset, place: 'cold' };
  }

  /** Hashes of removed records that went along with the segment. */
  async leaves(segment: ColdSegment): Promise<LeafRun[]> {
    if (!segment.files.some(({ kind }) => kind === 'leaves')) return [];
    const path = await this.#fetch(segment, 'leaves');
    if (path === null) return [];
    try {
      return decodeLeaves(readFileSync(path));
    } catch (error) {
      // Reported as changed already.
      if (error instanceof FormatError) return [];
      throw error;
    }
  }

  /** Compares the other copies of the segment. */
  async checkRest(segment: ColdSegment): Promise<void> {
    for (const { kind } of segment.files) if (kind !== 'log') await this.#fetch(segment, kind);
  }

  /** Removes what was fetched. */
  close(): void {
    if (this.#folder !== null) rmSync(this.#folder, { recursive: true, force: true });
    this.#folder = null;
    this.#fetched = null;
  }

  async #fetch(segment: ColdSegment, kind: string): Promise<string | null> {
    const name = nameOf(segment, kind);
    if (this.#fetched?.name === name) return this.#fetched.path;
    const file = segment.files.find((each) => each.kind === kind);
    if (!file || !this.#access) return null;
    if (kind === 'log') this.#forget();
    this.#folder ??= mkdtempSync(join(tmpdir(), 'tidemark-cold-'));
    const path = join(this.#folder, name);
    rmSync(path, { force: true });
    const isThere = await this.#access.fetch(name, path);
    if (!isThere) this.#missing(segment, kind, name);
    else await this.#compare(file, name, path);
    if (kind === 'log') this.#fetched = { name, path: isThere ? path : null };
    return isThere ? path : null;
  }

  /** Whoever still reads the file keeps its bytes until it is closed. */
  #forget(): void {
    if (this.#fetched?.path) rmSync(this.#fetched.path, { force: true });
    this.#fetched = null;
  }

  #missing({ baseOffset, end }: ColdSegment, kind: string, name: string): void {
    this.#report(
      'COLD_MISSING',
      kind,
      name,
      kind === 'log'
        ? `the cold tier does not hold it any more: records ${baseOffset} to ${end - 1} are nowhere else`
        : 'the cold tier does not hold it any more',
      { first: baseOffset, last: end - 1 },
    );
  }

  async #compare({ kind, sizeBytes, sha256 }: ColdFile, name: string, path: string): Promise<void> {
    const found = await hashOf(path);
    if (found.sha256 === sha256) return;
    this.#report(
      'COLD_DAMAGED',
      kind,
      name,
      `the copy in the cold tier was changed: SHA-256 ${found.sha256} over ${found.sizeBytes} bytes, copied were ${sha256} over ${sizeBytes}; the gateway refuses it`,
      { bytes: found.sizeBytes, expected: sizeBytes },
    );
  }

  #report(
    code: 'COLD_MISSING' | 'COLD_DAMAGED',
    kind: string,
    name: string,
    message: string,
    facts: Record<string, number>,
  ): void {
    if (this.#reported.has(name)) return;
    this.#reported.add(name);
    const severity = KEPT_FOR_PROOF.has(kind) ? 'error' : 'warning';
    this.#findings.add(severity, code, { file: `cold/${name}` }, message, facts);
  }
}

const fromStore = 'the store has the same text beside the segment, copy it to cold/ in the data directory';

const nameOf = ({ baseOffset }: ColdSegment, kind: string): string =>
  `${String(baseOffset).padStart(20, '0')}.${kind}`;

async function hashOf(path: string): Promise<{ sha256: string; sizeBytes: number }> {
  const sha = createHash('sha256');
  let sizeBytes = 0;
  for await (const piece of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
    sha.update(piece as Buffer);
    sizeBytes += (piece as Buffer).length;
  }
  return { sha256: sha.digest('hex'), sizeBytes };
}

/** All of `<dataDir>/cold`, ascending. One that cannot be read is reported. */
function readManifests(dataDir: string, findings: Findings): ColdSegment[] {
  const folder = join(dataDir, 'cold');
  let names: string[];
  try {
    names = readdirSync(folder)
      .filter((name) => MANIFEST.test(name))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names.flatMap((name) => {
    const segment = parseManifest(readFileSync(join(folder, name), 'utf8'), Number(name.slice(0, 20)));
    if (segment) return segment;
    findings.add(
      'warning',
      'COLD_MANIFEST_WRONG',
      { file: `cold/${name}` },
      `is no manifest of that segment; ${fromStore}`,
    );
    return [];
  });
}

function parseManifest(text: string, baseOffset: number): ColdSegment | null {
  try {
    const { version, segment, end, files } = JSON.parse(text) as Record<string, unknown>;
    if (version !== 1 || segment !== baseOffset || !Number.isSafeInteger(end) || !Array.isArray(files))
      return null;
    const isWhole = (file: ColdFile) =>
      /^[a-z]+$/.test(file.kind) &&
      Number.isSafeInteger(file.sizeBytes) &&
      /^[0-9a-f]{64}$/.test(file.sha256);
    return files.every(isWhole) && (end as number) > baseOffset
      ? { baseOffset, end: end as number, files: files as ColdFile[] }
      : null;
  } catch {
    return null;
  }
}

/** Those that lead up to `start` without a hole; to the last of them where no segment is left here. */
function upTo(known: readonly ColdSegment[], start: number | null): ColdSegment[] {
  const found: ColdSegment[] = [];
  let next = start ?? known.at(-1)?.end;
  for (const segment of known.toReversed()) {
    if (segment.end !== next) continue;
    found.unshift(segment);
    next = segment.baseOffset;
  }
  return found;
}
