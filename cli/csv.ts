// CSV as RFC 4180 has it: cells with commas, quotes and line ends in quotes. Reads and writes; means nothing by it.
import { CommandError, EXIT } from './errors.ts';

export interface CsvRow {
  /** 1-based, of its beginning. */
  readonly line: number;
  readonly cells: readonly string[];
}

/** Rows that are not blank. @throws CommandError naming the line */
export function parseCsv(text: string, file: string): CsvRow[] {
  const rows: CsvRow[] = [];
  const source = text.startsWith('\ufeff') ? text.slice(1) : text;
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/gy;
  let line = 1;
  for (let cells: string[] = [], at = 0, begun = line; at < source.length; ) {
    cell.lastIndex = at;
    const match = cell.exec(source);
    if (match === null) throw new CommandError(EXIT.usage, `${file}:${line}: a quote stands where none may`);
    const [whole, quoted, plain, end] = match;
    cells.push(quoted === undefined ? plain! : quoted.replaceAll('""', '"'));
    at += whole.length;
    line += whole.split('\n').length - 1;
    // A comma at the very end has an empty cell behind it.
    if (end === ',' && at === source.length) cells.push('');
    if (end === ',' && at < source.length) continue;
    if (cells.length > 1 || cells[0] !== '') rows.push({ line: begun, cells });
    cells = [];
    begun = line;
  }
  return rows;
}

export const formatCsv = (rows: readonly (readonly string[])[]): string =>
  rows.map((row) => `${row.map(quoted).join(',')}\n`).join('');

const quoted = (cell: string) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
