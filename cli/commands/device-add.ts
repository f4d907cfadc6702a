// `tidemark device add`: one device, with a secret that is shown once, or with its certificate.
import { administer } from '../administer.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { durationMs, patternList, showIssued } from '../issued.ts';
import { readText } from '../trust.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const name = invocation.positionals[0]!;
  const fingerprint = invocation.text('fingerprint');
  const certificate = invocation.flag('certificate') || fingerprint !== undefined;
  const ownPassword = invocation.flag('password-stdin');
  if ([invocation.flag('bearer'), certificate, ownPassword].filter(Boolean).length > 1)
    throw new CommandError(
      EXIT.usage,
      'give one of --bearer, --certificate (or --fingerprint) and --password-stdin',
    );
  const device = invocation.flag('any-device') ? null : invocation.text('device');
  const issued = await administer(invocation, (by) =>
    by.add({
      name,
      role: 'device',
      secret: certificate ? 'none' : invocation.flag('bearer') ? 'token' : 'password',
      certificate,
      ...(fingerprint === undefined ? {} : { fingerprints: fingerprint.split(',') }),
      ...(ownPassword ? { password: readText('-', 'password').replace(/\r?\n$/, '') } : {}),
      ...(device === undefined ? {} : { device }),
      publish: patternList(invocation.text('publish')) ?? null,
      subscribe: patternList(invocation.text('subscribe')) ?? null,
      expiresInMs: durationMs(invocation, 'expires') ?? null,
    }),
  );
  showIssued(issued, `added     ${name}`, invocation);
  return EXIT.ok;
}
