// `tidemark config check`
import type { Invocation } from '../command.ts';
import { ConfigError, loadConfig } from '../config/load.ts';
import { EXIT, type ExitCode } from '../errors.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const json = invocation.flag('json');
  try {
    const { file, overriddenBy } = loadConfig(
      invocation.positionals[0] ?? invocation.text('config'),
      process.env,
    );
    if (json) process.stdout.write(`${JSON.stringify({ ok: true, file, overriddenBy, problems: [] })}\n`);
    else {
      process.stdout.write(
        `${file ?? 'no file, defaults'}: ok${overriddenBy.length > 0 ? ` (with ${overriddenBy.join(', ')})` : ''}\n`,
      );
    }
    return EXIT.ok;
  } catch (error) {
    if (!json || !(error instanceof ConfigError)) throw error;
    process.stdout.write(`${JSON.stringify({ ok: false, file: error.file, problems: error.problems })}\n`);
    return EXIT.usage;
  }
}
