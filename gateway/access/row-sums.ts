// The checksum in every row of access.db: SQLite has none, and a flipped bit must not give anybody a right. Knows columns,
// not what they mean.
import { crc32c } from '@node-rs/crc32';

const COLUMNS = {
  principals: [
    'name',
    'role',
    'device',
    'publish',
    'subscribe',
    'certificate',
    'fingerprints',
    'created_ms',
    'revoked_ms',
  ],
  secrets: ['id', 'name', 'kind', 'hash', 'salt', 'cost', 'created_ms', 'expires_ms'],
  facts: ['key', 'value'],
} as const;

export type SummedTable = keyof typeof COLUMNS;
export const SUMMED_TABLES = Object.keys(COLUMNS) as SummedTable[];

type Row = { readonly [column: string]: string | number | Uint8Array | null };

/** CRC-32C of the row's other columns as a JSON array, in the order of the table; BLOBs as hex. */
export function sumOf(table: SummedTable, row: object): number {
  const values = COLUMNS[table].map((column) => {
    const value = (row as Row)[column] ?? null;
    return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
  });
  return crc32c(JSON.stringify(values));
}

/** Its first column names a row. */
export const keyColumnOf = (table: SummedTable): string => COLUMNS[table][0];
