// `tidemark device revoke` and `tidemark token revoke`: from now on nothing of that name counts; open connections end.
import { administer } from '../administer.ts';
import type { Invocation } from '../command.ts';
import { EXIT, type ExitCode } from '../errors.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const name = invocation.positionals[0]!;
  await administer(invocation, (by) => by.revoke(name));
  process.stdout.write(
    invocation.flag('json') ? `${JSON.stringify({ name, revoked: true })}\n` : `revoked   ${name}\n`,
  );
  return EXIT.ok;
}
