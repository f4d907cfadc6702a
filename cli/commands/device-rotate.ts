// `tidemark device rotate`: a new secret; the old one still counts for a while, so that the device can be reached with it.
import { administer } from '../administer.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { durationMs, showIssued } from '../issued.ts';
import { readText } from '../trust.ts';

const DAY_MS = 86_400_000;

export async function run(invocation: Invocation): Promise<ExitCode> {
  const name = invocation.positionals[0]!;
  const overlapMs = durationMs(invocation, 'overlap') ?? DAY_MS;
  const ownPassword = invocation.flag('password-stdin');
  if (ownPassword && invocation.flag('bearer'))
    throw new CommandError(EXIT.usage, 'give --bearer or --password-stdin, not both');
  const issued = await administer(invocation, (by) =>
    by.rotate({
      name,
      overlapMs,
      ...(invocation.flag('bearer') ? { secret: 'token' } : {}),
      ...(ownPassword
        ? { secret: 'password', password: readText('-', 'password').replace(/\r?\n$/, '') }
        : {}),
      expiresInMs: durationMs(invocation, 'expires') ?? null,
    }),
  );
  const until =
    overlapMs === 0
      ? 'the old one ends now'
      : `the old one ends ${new Date(Date.now() + overlapMs).toISOString()}`;
  showIssued(issued, `rotated   ${name}; ${until}`, invocation);
  return EXIT.ok;
}
