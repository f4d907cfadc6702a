// `tidemark config show`
import { stringify } from 'yaml';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { EXIT, type ExitCode } from '../errors.ts';

/** Values of keys with these names never leave the process. */
const SECRET = /^(password|token|secret)$/i;

export async function run(invocation: Invocation): Promise<ExitCode> {
  const { config } = loadConfig(invocation.text('config'), process.env);
  const shown = JSON.parse(
    JSON.stringify(config, (key, value) => (SECRET.test(key) && value ? '(hidden)' : value)),
  );
  process.stdout.write(invocation.flag('json') ? `${JSON.stringify(shown, null, 2)}\n` : stringify(shown));
  return EXIT.ok;
}
