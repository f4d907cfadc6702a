// `tidemark policy sign`: a signature under a proposed policy, by an authority with the key it cosigns with, or by whoever holds
// the policy key of a witness. For people who have read it.
import { openAuthority } from '../../ledger/authority/store.ts';
import { cosignatureMessage, formatCosignature } from '../../ledger/format/cosignature.ts';
import { FormatError } from '../../ledger/format/errors.ts';
import { equalBytes } from '../../ledger/format/hash.ts';
import {
  formatNote,
  type NoteSignature,
  parseNote,
  SIGNATURE_TYPE,
  type VerifierKey,
  verifierKey,
} from '../../ledger/format/note.ts';
import { describePolicy, type Policy, parsePolicy } from '../../ledger/format/policy.ts';
import { type PolicyStatement, parsePolicyStatement } from '../../ledger/format/statements.ts';
import { KeyError, loadKeyFile } from '../../ledger/keys/file.ts';
import type { Invocation } from '../command.ts';
import { loadAuthorityConfig } from '../config/authority.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { readText, writeResult } from '../trust.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const file = invocation.positionals[0]!;
  try {
    const note = parseNote(readText(file, 'proposed policy'));
    const statement = parsePolicyStatement(note.text);
    const policy = parsePolicy(statement.text, { allowNonIntersecting: true });
    const keyFile = invocation.text('key-file');
    const own =
      keyFile === undefined
        ? asAuthority(invocation, note.text, statement)
        : withPolicyKey(invocation, keyFile, note.text, policy);
    const others = note.signatures.filter(({ name, keyId }) => name !== own.name || keyId !== own.keyId);
    process.stderr.write(
      `${own.name} signs epoch ${statement.epoch} of ${statement.origin}\n${describePolicy(policy)}\n`,
    );
    writeResult(invocation.text('out'), formatNote({ text: note.text, signatures: [...others, own] }));
    return EXIT.ok;
  } catch (error) {
    if (error instanceof FormatError) throw new CommandError(EXIT.usage, `${file}: ${error.message}`);
    if (error instanceof KeyError) throw new CommandError(EXIT.unable, error.message, { hint: error.hint });
    throw error;
  }
}

function asAuthority(invocation: Invocation, text: string, { origin }: PolicyStatement): NoteSignature {
  const config = loadAuthorityConfig(invocation.text('config') ?? 'authority.yaml');
  const served = config.gateways.some(({ keys }) => keys[0]!.startsWith(`${origin}+`));
  if (!served) throw new CommandError(EXIT.usage, `${config.name} does not serve ${origin}`);
  const { key, heads } = openAuthority(config.dataDir);
  heads.close();
  const { name, keyId } = verifierKey(config.name, key.publicKey, SIGNATURE_TYPE.cosignature);
  const timeSeconds = Math.floor(Date.now() / 1_000);
  const signature = key.sign(cosignatureMessage(text, timeSeconds));
  return { name, keyId, signature: formatCosignature({ timeSeconds, signature }) };
}

function withPolicyKey(invocation: Invocation, keyFile: string, text: string, policy: Policy): NoteSignature {
  const key = loadKeyFile(keyFile);
  if (!key) throw new CommandError(EXIT.usage, `there is no key ${keyFile}`);
  const named = policy.authorities
    .map(({ policyKey }) => policyKey)
    .find((one): one is VerifierKey => one !== null && equalBytes(one.publicKey, key.publicKey));
  const name = invocation.text('name') ?? named?.name;
  if (name === undefined)
    throw new CommandError(EXIT.usage, `the proposed policy does not name the key in ${keyFile}`, {
      hint: 'where only the policy in force names it, give the name it has there: --name NAME',
    });
  const { keyId } = verifierKey(name, key.publicKey);
  return { name, keyId, signature: key.sign(new TextEncoder().encode(text)) };
}
