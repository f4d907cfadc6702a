// `tidemark key rotate`: a new gateway key beside the old one, and a statement signed by both for the chain.
import { existsSync } from 'node:fs';
import { equalBytes } from '../../ledger/format/hash.ts';
import { formatNote, formatVerifierKey, verifierKey } from '../../ledger/format/note.ts';
import { formatKeyStatement } from '../../ledger/format/statements.ts';
import { createKeyFile, loadKeyFile } from '../../ledger/keys/file.ts';
import { keyChangePath, leaveStatement } from '../../ledger/seal/changes.ts';
import { loadGatewayKey, nextKeyPath } from '../../ledger/seal/key.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { withDataDir } from '../data-dir.ts';
import { epochsOf } from '../epochs.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const { config } = withDataDir(loadConfig(invocation.text('config'), process.env), invocation);
  const { dataDir } = config;
  const epochs = await epochsOf(dataDir);
  const { origin } = epochs;
  const old = loadGatewayKey(dataDir);
  if (!old || !equalBytes(old.publicKey, epochs.key.publicKey))
    throw new CommandError(EXIT.unable, `${dataDir} does not hold the gateway key in force`);
  if (existsSync(keyChangePath(dataDir)))
    throw new CommandError(EXIT.unable, 'a rotation is under way', {
      hint: 'start the gateway, and it will be finished',
    });
  const next = loadKeyFile(nextKeyPath(dataDir)) ?? createKeyFile(nextKeyPath(dataDir));
  const nextText = formatVerifierKey(verifierKey(origin, next.publicKey));
  if (invocation.flag('prepare')) {
    process.stdout.write(`${nextText}\n`);
    return EXIT.ok;
  }
  const text = formatKeyStatement({
    origin,
    previous: verifierKey(origin, old.publicKey),
    next: verifierKey(origin, next.publicKey),
  });
  const signatures = [old, next].map((key) => {
    const { name, keyId } = verifierKey(origin, key.publicKey);
    return { name, keyId, signature: key.sign(new TextEncoder().encode(text)) };
  });
  leaveStatement(keyChangePath(dataDir), formatNote({ text, signatures }));
  process.stdout.write(
    `new key   ${nextText}\nold key   ${formatVerifierKey(epochs.key)}: signs one more checkpoint, together with the new one, and is removed\n` +
      'The running gateway takes it up within a second, else at its next start. Back up the new gateway.key; give the new key to auditors.\n',
  );
  return EXIT.ok;
}
