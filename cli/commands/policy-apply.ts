// `tidemark policy apply`: hands a signed policy to the gateway, which puts it into the chain; checks first that it may.
import { checkPolicyChange } from '../../ledger/format/epochs.ts';
import { FormatError } from '../../ledger/format/errors.ts';
import { formatNote, parseNote, type SignedNote } from '../../ledger/format/note.ts';
import { leaveStatement, policyChangePath } from '../../ledger/seal/changes.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { withDataDir } from '../data-dir.ts';
import { epochsOf } from '../epochs.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { readText } from '../trust.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const { config } = withDataDir(loadConfig(invocation.text('config'), process.env), invocation);
  const epochs = await epochsOf(config.dataDir);
  const [first, ...rest] = invocation.positionals;
  try {
    const note = rest.reduce(
      (merged, file) => merge(merged, parseNote(readText(file, 'signed policy')), file),
      parseNote(readText(first!, 'signed policy')),
    );
    const { epoch } = checkPolicyChange(note, epochs);
    leaveStatement(policyChangePath(config.dataDir), formatNote(note));
    process.stdout.write(
      `epoch ${epoch} of ${epochs.origin}: the running gateway takes it up within a second, else at its next start\n`,
    );
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new CommandError(EXIT.usage, error.message, {
      hint: 'the gateway, a quorum of the policy in force and one of the new must have signed the same proposal',
    });
  }
}

/** Signers may each have sent their own copy. */
function merge(one: SignedNote, other: SignedNote, file: string): SignedNote {
  if (one.text !== other.text) throw new CommandError(EXIT.usage, `${file} is of another proposal`);
  const known = new Set(one.signatures.map(({ name, keyId }) => `${name}+${keyId}`));
  const more = other.signatures.filter(({ name, keyId }) => !known.has(`${name}+${keyId}`));
  return { text: one.text, signatures: [...one.signatures, ...more] };
}
