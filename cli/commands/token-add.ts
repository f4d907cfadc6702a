// `tidemark token add`: a bearer token for a person or a program.
import { ROLES } from '../../gateway/access/config.ts';
import { administer } from '../administer.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { durationMs, patternList, showIssued } from '../issued.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const name = invocation.positionals[0]!;
  const role = invocation.text('role');
  if (!ROLES.some((known) => known === role))
    throw new CommandError(
      EXIT.usage,
      `--role takes ${ROLES.join(', ')}${role === undefined ? '' : `, not ${role}`}`,
    );
  const issued = await administer(invocation, (by) =>
    by.add({
      name,
      role,
      secret: 'token',
      publish: patternList(invocation.text('publish')) ?? null,
      subscribe: patternList(invocation.text('subscribe')) ?? null,
      expiresInMs: durationMs(invocation, 'expires') ?? null,
    }),
  );
  showIssued(issued, `added     ${name} (${role})`, invocation);
  return EXIT.ok;
}
