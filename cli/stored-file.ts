// `tidemark verify --file`: is a file that somebody kept exactly the payload that was sealed?
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Invocation } from './command.ts';
import { CommandError, EXIT } from './errors.ts';

export interface StoredFile {
  readonly ok: boolean;
  readonly file: string;
  readonly bytes: number;
  /** SHA-256 of the file, lower-case hex. */
  readonly sha256: string;
}

/** Null where none was given. @param proofText one that verified */
export function storedFile(invocation: Invocation, proofText: string): StoredFile | null {
  const file = invocation.text('file');
  if (file === undefined) return null;
  const { record } = JSON.parse(proofText) as { record?: { payload: string } };
  if (!record) throw new CommandError(EXIT.usage, '--file goes with a proof of one record');
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw new CommandError(EXIT.usage, `the file ${file} can't be read`, { cause: error });
  }
  const ok = bytes.equals(Buffer.from(record.payload, 'base64'));
  return { ok, file, bytes: bytes.length, sha256: hash('sha256', bytes) };
}

export const fileLine = ({ ok, file, bytes, sha256 }: StoredFile): string =>
  ok
    ? `ok   file               ${file} is the sealed payload, ${bytes} bytes, SHA-256 ${sha256}\n`
    : `FAIL file               ${file} (${bytes} bytes, SHA-256 ${sha256}) is not the payload that was sealed\n`;
