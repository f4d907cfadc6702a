// Evidence files of an authority: one per fork it saw, written whole, never changed, bounded in number. Judges nothing.
import { createHash } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { parseCheckpoint } from '../format/checkpoint.ts';
import { parseNote } from '../format/note.ts';
import { syncFolder } from '../keys/file.ts';
import { type EvidenceFile, formatEvidence } from '../verify/evidence.ts';

/** Name of an origin in paths and URLs, as C2SP tlog-witness has it: lower-case hex SHA-256. */
export const originHash = (origin: string): string => createHash('sha256').update(origin).digest('hex');

const NAME = /^[0-9a-f]{64}-[0-9]{1,16}-[0-9a-f]{16}\.json$/;

export class EvidenceFiles {
  readonly #folder: string;
  readonly #max: number;

  constructor(dataDir: string, max: number) {
    this.#folder = join(dataDir, 'evidence');
    this.#max = max;
    mkdirSync(this.#folder, { recursive: true });
  }

  list(): string[] {
    return readdirSync(this.#folder)
      .filter((name) => NAME.test(name))
      .sort();
  }

  read(name: string): string | null {
    return NAME.test(name) && this.list().includes(name)
      ? readFileSync(join(this.#folder, name), 'utf8')
      : null;
  }

  /** Durable when it returns; the name of a new file, null where it is there already or there are enough. */
  write(origin: string, evidence: EvidenceFile): string | null {
    const hash = originHash(origin);
    const { size } = parseCheckpoint(parseNote(evidence.second).text);
    const texts = [evidence.first, evidence.second].map((note) => parseNote(note).text).join('');
    const name = `${hash}-${size}-${createHash('sha256').update(texts).digest('hex').slice(0, 16)}.json`;
    const known = this.list().filter((other) => other.startsWith(hash));
    if (known.includes(name) || known.length >= this.#max) return null;
    const temporary = join(this.#folder, `${name}.tmp`);
    const fd = openSync(temporary, 'w', 0o644);
    try {
      writeSync(fd, formatEvidence(evidence));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, join(this.#folder, name));
    syncFolder(this.#folder);
    return name;
  }
}
