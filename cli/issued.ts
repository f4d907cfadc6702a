// How an issued secret is shown: once, on standard output, for a person or as JSON.
import type { Issued } from '../gateway/access/administration.ts';
import type { Invocation } from './command.ts';
import { CommandError, EXIT } from './errors.ts';

export function showIssued(issued: Issued, what: string, invocation: Invocation): void {
  if (invocation.flag('json')) {
    process.stdout.write(`${JSON.stringify(issued)}\n`);
    return;
  }
  const { kind, secret, expiresMs } = issued;
  const lines = [what];
  if (secret !== undefined)
    lines.push(`${kind.padEnd(10)}${secret}`, '          shown this once; the gateway keeps only its hash');
  if (expiresMs !== null) lines.push(`until     ${new Date(expiresMs).toISOString()}`);
  process.stdout.write(`${lines.join('\n')}\n`);
}

const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** e.g. 90d; undefined when the option is not given. */
export function durationMs(invocation: Invocation, option: string): number | undefined {
  const given = invocation.text(option);
  return given === undefined ? undefined : parseDurationMs(given, `--${option}`);
}

/** @throws CommandError */
export function parseDurationMs(given: string, where: string): number {
  const [, count, unit] = /^(0|[1-9]\d{0,8})([smhd]?)$/.exec(given) ?? [];
  const unitMs = unit === '' && count === '0' ? 1 : UNITS_MS[unit ?? ''];
  if (count === undefined || unitMs === undefined)
    throw new CommandError(
      EXIT.usage,
      `${where} takes a time such as 30m, 12h or 90d, not ${JSON.stringify(given)}`,
    );
  return Number(count) * unitMs;
}

/** A comma-separated list of topic patterns. */
export const patternList = (given: string | undefined) =>
  given === undefined ? undefined : given.split(',').map((pattern) => pattern.trim());
