// `tidemark device list` and `tidemark token list`: who was added, with which rights and which kinds of secret.
import type { Listed } from '../../gateway/access/administration.ts';
import { administer } from '../administer.ts';
import type { Invocation } from '../command.ts';
import { EXIT, type ExitCode } from '../errors.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const principals = await administer(invocation, (by) => by.list());
  if (invocation.flag('json')) {
    process.stdout.write(`${JSON.stringify({ principals })}\n`);
    return EXIT.ok;
  }
  const rows = [
    ['NAME', 'ROLE', 'DEVICE', 'SHOWS', 'SINCE'],
    ...principals.map((row) => [
      row.name,
      row.role,
      row.device ?? 'any',
      row.revokedMs === null ? shownBy(row) : 'revoked',
      new Date(row.revokedMs ?? row.createdMs).toISOString().slice(0, 16),
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows)
    process.stdout.write(
      `${row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd()}\n`,
    );
  return EXIT.ok;
}

function shownBy({ secrets, certificate, fingerprints }: Listed): string {
  const nowMs = Date.now();
  const shown = secrets.map(({ kind, expiresMs }) => {
    if (expiresMs === null) return kind;
    return expiresMs <= nowMs
      ? `${kind} (ended)`
      : `${kind} until ${new Date(expiresMs).toISOString().slice(0, 16)}`;
  });
  if (certificate === 'any') shown.push('certificate');
  if (certificate === 'pinned')
    shown.push(`certificate ${fingerprints.map((text) => text.slice(0, 12)).join(' ')}`);
  return shown.join(', ') || 'nothing';
}
