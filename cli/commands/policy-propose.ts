// `tidemark policy propose`: a new policy as a statement that authorities can sign, signed by this gateway.
import { NO_POLICY_HASH, policyStatementFor } from '../../ledger/format/epochs.ts';
import { FormatError } from '../../ledger/format/errors.ts';
import { equalBytes } from '../../ledger/format/hash.ts';
import { formatNote, parseNote, verifierKey } from '../../ledger/format/note.ts';
import { describePolicy, parsePolicy } from '../../ledger/format/policy.ts';
import { formatPolicyStatement } from '../../ledger/format/statements.ts';
import { loadGatewayKey } from '../../ledger/seal/key.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { withDataDir } from '../data-dir.ts';
import { epochsOf } from '../epochs.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { readText, writeResult } from '../trust.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const { config } = withDataDir(loadConfig(invocation.text('config'), process.env), invocation);
  const file = invocation.positionals[0]!;
  const text = readText(file, 'policy');
  const epochs = await epochsOf(config.dataDir);
  const key = loadGatewayKey(config.dataDir);
  if (!key || !equalBytes(key.publicKey, epochs.key.publicKey))
    throw new CommandError(EXIT.unable, `${config.dataDir} does not hold the gateway key in force`);
  try {
    const policy = parsePolicy(text, { allowNonIntersecting: invocation.flag('allow-non-intersecting') });
    const { epoch, policy: before } = epochs.policy;
    const previous = before?.hash ?? NO_POLICY_HASH;
    const statement = formatPolicyStatement({ origin: epochs.origin, epoch: epoch + 1, previous, text });
    const { name, keyId } = verifierKey(epochs.origin, key.publicKey);
    const signature = key.sign(new TextEncoder().encode(statement));
    const note = formatNote({ text: statement, signatures: [{ name, keyId, signature }] });
    policyStatementFor(parseNote(note), epochs);
    process.stderr.write(`epoch ${epoch + 1} of ${epochs.origin}\n${describePolicy(policy)}\n`);
    writeResult(invocation.text('out'), note);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new CommandError(
      EXIT.usage,
      `${file}: ${error.message}`,
      error.hint === undefined ? {} : { hint: error.hint },
    );
  }
}
