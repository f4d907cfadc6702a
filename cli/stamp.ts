// The external timestamp of a proof's checkpoint, for `tidemark verify --timestamp`.
import { readFileSync } from 'node:fs';
import { parseNote } from '../ledger/format/note.ts';
import { imprintOf, type Timestamp, TimestampError, verifyTimestamp } from '../ledger/timestamp/token.ts';
import type { Invocation } from './command.ts';
import { CommandError, EXIT } from './errors.ts';
import { readText } from './trust.ts';

export type Stamp = Timestamp | { readonly problem: string };

/** Null where none was given. @param proofText one that verified */
export function stampOf(invocation: Invocation, proofText: string): Stamp | null {
  const file = invocation.text('timestamp');
  const ca = invocation.text('tsa-ca');
  if (file === undefined) {
    if (ca !== undefined) throw new CommandError(EXIT.usage, '--tsa-ca goes with --timestamp');
    return null;
  }
  const trusted = ca === undefined ? undefined : readText(ca, 'certificate file');
  let token: Buffer;
  try {
    token = readFileSync(file);
  } catch (error) {
    throw new CommandError(EXIT.usage, `the timestamp ${file} can't be read`, { cause: error });
  }
  const { checkpoint } = JSON.parse(proofText) as { checkpoint: string };
  try {
    return verifyTimestamp(token, { imprint: imprintOf(parseNote(checkpoint).text), trusted });
  } catch (error) {
    if (error instanceof TimestampError) return { problem: error.message };
    throw error;
  }
}

export function stampLine(stamp: Stamp): string {
  if ('problem' in stamp) return `FAIL timestamp          ${stamp.problem}\n`;
  const worth = stamp.trusted ? '' : ' (its certificate was not checked: give --tsa-ca)';
  return `ok   timestamp          the checkpoint existed at ${new Date(stamp.timeMs).toISOString()}, says ${stamp.authority}${worth}\n`;
}
