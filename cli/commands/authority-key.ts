// `tidemark authority key`: the authority's verifier key, made before its first start where there is none.
import { openAuthority } from '../../ledger/authority/store.ts';
import { formatVerifierKey, SIGNATURE_TYPE, verifierKey } from '../../ledger/format/note.ts';
import { KeyError } from '../../ledger/keys/file.ts';
import type { Invocation } from '../command.ts';
import { loadAuthorityConfig } from '../config/authority.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const config = loadAuthorityConfig(invocation.text('config') ?? 'authority.yaml');
  try {
    const { key, heads } = openAuthority(config.dataDir);
    heads.close();
    const text = formatVerifierKey(verifierKey(config.name, key.publicKey, SIGNATURE_TYPE.cosignature));
    process.stdout.write(
      invocation.flag('json') ? `${JSON.stringify({ name: config.name, verifierKey: text })}\n` : `${text}\n`,
    );
    return EXIT.ok;
  } catch (error) {
    if (error instanceof KeyError) throw new CommandError(EXIT.unable, error.message, { hint: error.hint });
    throw error;
  }
}
