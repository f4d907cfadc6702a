// `tidemark keygen`: the gateway key before the first start.
import { existsSync } from 'node:fs';
import { gatewayKeyPath, gatewayVerifierKey, loadOrCreateGatewayKey } from '../../ledger/seal/key.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { defaultOrigin } from '../config/schema.ts';
import { withDataDir } from '../data-dir.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const { config } = withDataDir(loadConfig(invocation.text('config'), process.env), invocation);
  const file = gatewayKeyPath(config.dataDir);
  if (existsSync(file))
    throw new CommandError(EXIT.unable, `${file} exists and is kept`, {
      hint: '`tidemark key rotate` gives a gateway a new key',
    });
  const origin = config.origin ?? defaultOrigin();
  const key = gatewayVerifierKey(origin, loadOrCreateGatewayKey(config.dataDir));
  if (invocation.flag('json'))
    process.stdout.write(`${JSON.stringify({ file, origin, verifierKey: key })}\n`);
  else process.stdout.write(`private key   ${file} (keep a copy somewhere safe)\nverifier key  ${key}\n`);
  return EXIT.ok;
}
