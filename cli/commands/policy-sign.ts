// `tidemark policy sign`: an authority's signature under a proposed policy. For the authority's operator, who has read it.
import { openAuthority } from '../../ledger/authority/store.ts';
import { cosignatureMessage, formatCosignature } from '../../ledger/format/cosignature.ts';
import { FormatError } from '../../ledger/format/errors.ts';
import { formatNote, parseNote, SIGNATURE_TYPE, signedBy, verifierKey } from '../../ledger/format/note.ts';
import { describePolicy, parsePolicy } from '../../ledger/format/policy.ts';
import { parsePolicyStatement } from '../../ledger/format/statements.ts';
import { KeyError } from '../../ledger/keys/file.ts';
import type { Invocation } from '../command.ts';
import { loadAuthorityConfig } from '../config/authority.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { readText, writeResult } from '../trust.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const config = loadAuthorityConfig(invocation.text('config') ?? 'authority.yaml');
  const file = invocation.positionals[0]!;
  try {
    const note = parseNote(readText(file, 'proposed policy'));
    const statement = parsePolicyStatement(note.text);
    const served = config.gateways.some(({ keys }) => keys[0]!.startsWith(`${statement.origin}+`));
    if (!served) throw new CommandError(EXIT.usage, `${config.name} does not serve ${statement.origin}`);
    const policy = parsePolicy(statement.text, { allowNonIntersecting: true });
    const { key, heads } = openAuthority(config.dataDir);
    heads.close();
    const own = verifierKey(config.name, key.publicKey, SIGNATURE_TYPE.cosignature);
    const timeSeconds = Math.floor(Date.now() / 1_000);
    const signature = formatCosignature({
      timeSeconds,
      signature: key.sign(cosignatureMessage(note.text, timeSeconds)),
    });
    const others = note.signatures.filter((line) => !signedBy(line, own));
    const { name, keyId } = own;
    process.stderr.write(
      `${config.name} signs epoch ${statement.epoch} of ${statement.origin}\n${describePolicy(policy)}\n`,
    );
    writeResult(
      invocation.text('out'),
      formatNote({ text: note.text, signatures: [...others, { name, keyId, signature }] }),
    );
    return EXIT.ok;
  } catch (error) {
    if (error instanceof FormatError) throw new CommandError(EXIT.usage, `${file}: ${error.message}`);
    if (error instanceof KeyError) throw new CommandError(EXIT.unable, error.message, { hint: error.hint });
    throw error;
  }
}
