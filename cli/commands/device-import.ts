// `tidemark device import`: many devices out of a CSV file; their secrets go into a file only its owner can read.
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { administer } from '../administer.ts';
import type { Invocation } from '../command.ts';
import { formatCsv, parseCsv } from '../csv.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { parseDurationMs } from '../issued.ts';
import { readText } from '../trust.ts';

const COLUMNS = ['name', 'role', 'device', 'publish', 'subscribe', 'secret', 'fingerprint', 'expires'];

export async function run(invocation: Invocation): Promise<ExitCode> {
  const file = invocation.positionals[0]!;
  const out = invocation.text('out');
  if (out === undefined) throw new CommandError(EXIT.usage, 'give --out FILE for the secrets');
  const entries = entriesIn(readText(file, 'list'), file);
  // Made before anything is: secrets that cannot be written down would be lost.
  const target = openNew(out);
  try {
    const issued = await administer(invocation, (by) => by.import({ entries }));
    const rows = issued.map(({ name, kind, secret, expiresMs }) => [
      name,
      kind,
      secret ?? '',
      expiresMs === null ? '' : new Date(expiresMs).toISOString(),
    ]);
    writeSync(target, formatCsv([['name', 'kind', 'secret', 'expires'], ...rows]));
    fsyncSync(target);
  } catch (error) {
    rmSync(out, { force: true });
    throw error;
  } finally {
    closeSync(target);
  }
  process.stdout.write(
    invocation.flag('json')
      ? `${JSON.stringify({ added: entries.length, out })}\n`
      : `added     ${entries.length}\nsecrets   ${out} (mode 0600; the gateway keeps only their hashes)\n`,
  );
  return EXIT.ok;
}

function openNew(file: string): number {
  try {
    return openSync(file, 'wx', 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new CommandError(
      EXIT.usage,
      code === 'EEXIST' ? `${file} exists and is not overwritten` : `${file} can't be written: ${message}`,
      { cause: error },
    );
  }
}

function entriesIn(text: string, file: string): object[] {
  const [head, ...rows] = parseCsv(text, file);
  const columns = head?.cells.map((cell) => cell.trim()) ?? [];
  const wrong = columns.find((column, at) => !COLUMNS.includes(column) || columns.indexOf(column) < at);
  if (!columns.includes('name') || wrong !== undefined)
    throw new CommandError(
      EXIT.usage,
      `${file}:1: ${wrong === undefined ? 'a column `name` is needed' : `what is the column \`${wrong}\`?`}`,
      { hint: `the first line names columns out of ${COLUMNS.join(', ')}` },
    );
  if (rows.length === 0)
    throw new CommandError(EXIT.usage, `${file}: no devices below the line with the columns`);
  return rows.map(({ cells, line }) => {
    if (cells.length !== columns.length)
      throw new CommandError(
        EXIT.usage,
        `${file}:${line}: ${cells.length} cells, the first line names ${columns.length} columns`,
      );
    const cell = (column: string) => {
      const at = columns.indexOf(column);
      return at === -1 || cells[at]!.trim() === '' ? undefined : cells[at]!.trim();
    };
    const list = (column: string) => cell(column)?.split(/[;\s]+/);
    const expires = cell('expires');
    const fingerprints = list('fingerprint');
    return {
      name: cell('name') ?? '',
      ...definedOf({
        role: cell('role'),
        device: cell('device'),
        publish: list('publish'),
        subscribe: list('subscribe'),
      }),
      ...definedOf({ fingerprints, secret: cell('secret') ?? (fingerprints && 'none') }),
      ...(expires === undefined ? {} : { expiresInMs: parseDurationMs(expires, `${file}:${line}: expires`) }),
    };
  });
}

const definedOf = (values: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
