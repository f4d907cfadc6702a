// Hands over the admin token of the first start: on standard output, once, and never where it would be kept: a service's
// output goes to the journal, so there it is left in a file that only its owner reads.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';

export const FIRST_TOKEN_FILE = 'admin-token';

export interface HandOver {
  readonly dataDir: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly logger: Logger;
}

export function handOverFirstToken(token: string | null, { dataDir, environment, logger }: HandOver): void {
  if (token === null) return;
  if (environment.JOURNAL_STREAM !== undefined) {
    const file = join(dataDir, FIRST_TOKEN_FILE);
    writeFileSync(file, `${token}\n`, { mode: 0o600, flag: 'wx' });
    logger.warn(
      { file },
      'the admin token of this gateway is in this file: note it down, then delete the file',
    );
    return;
  }
  process.stdout.write(
    [
      '',
      `  admin token   ${token}`,
      '',
      '  It is shown this once and kept only as a hash. Lost? `tidemark token admin --reset`.',
      '  On this machine no token is needed: `tidemark device add pump-1` asks by the data directory.',
      '',
      '',
    ].join('\n'),
  );
}
