// The auditor's state file: read strictly, replaced whole.
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { FormatError } from '../ledger/format/errors.ts';
import { type AuditState, formatAuditState, parseAuditState } from '../ledger/fsck/auditstate.ts';
import { CommandError, EXIT } from './errors.ts';
import { readText } from './trust.ts';

/** Undefined where there is none yet. @throws CommandError for one that was edited or cut */
export function readState(file: string): AuditState | undefined {
  if (!existsSync(file)) return undefined;
  try {
    return parseAuditState(readText(file, 'state file'));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new CommandError(EXIT.usage, `${file}: ${error.message}`, {
      hint: 'the auditor’s own file was damaged: remove it to begin anew, and know that what was audited before is then not compared',
      cause: error,
    });
  }
}

/** The old or the new one is there after a crash. */
export function writeState(file: string, state: AuditState): void {
  writeFileSync(`${file}.new`, formatAuditState(state));
  renameSync(`${file}.new`, file);
}
