// `tidemark config schema`
import type { Invocation } from '../command.ts';
import { configJsonSchema, configReference } from '../config/reference.ts';
import { EXIT, type ExitCode } from '../errors.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  process.stdout.write(
    invocation.flag('json') ? `${JSON.stringify(configJsonSchema(), null, 2)}\n` : configReference(),
  );
  return EXIT.ok;
}
