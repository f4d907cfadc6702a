// `tidemark policy keygen`: a key that signs policies for a witness that signs nothing but checkpoints. Kept where no service runs.
import { existsSync } from 'node:fs';
import { formatVerifierKey, verifierKey } from '../../ledger/format/note.ts';
import { isKeyName } from '../../ledger/format/text.ts';
import { createKeyFile } from '../../ledger/keys/file.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const [file, name] = invocation.positionals as [string, string];
  if (existsSync(file)) throw new CommandError(EXIT.unable, `${file} exists and is kept`);
  if (!isKeyName(name))
    throw new CommandError(EXIT.usage, 'a key name is not empty and has no space or plus');
  const text = formatVerifierKey(verifierKey(name, createKeyFile(file).publicKey));
  process.stdout.write(`${text}\n`);
  process.stderr.write(
    `private key in ${file}: keep it offline, and a copy of it. In a policy, below the witness line: #tidemark policy-key <witness> ${text}\n`,
  );
  return EXIT.ok;
}
