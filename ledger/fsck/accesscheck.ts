// Checks access.db, who may do what, as a database with a checksum in every row. Rows name a person or a secret's id, never a
// secret. Changes nothing, repairs nothing: a row that is not what was written counts for nothing, add the name again.
import { checkDatabase } from './databasecheck.ts';
import type { Findings } from './findings.ts';

const SUMMED = {
  principals: {
    columns: [
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
    blob: null,
  },
  secrets: {
    columns: ['id', 'name', 'kind', 'hash', 'salt', 'cost', 'created_ms', 'expires_ms'],
    blob: null,
  },
  facts: { columns: ['key', 'value'], blob: null },
} as const;

export function checkAccess(dataDir: string, findings: Findings): void {
  checkDatabase(
    dataDir,
    {
      file: 'access.db',
      code: 'ACCESS_DAMAGED',
      writeAheadLog: false,
      summedFrom: 2,
      newest: 2,
      summed: SUMMED,
    },
    findings,
  );
}
