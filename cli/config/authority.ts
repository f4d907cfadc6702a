// Reads the configuration file of an authority. Its settings and limits are ledger/authority's.
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import { type AuthorityConfig, authorityConfig } from '../../ledger/authority/config.ts';
import { CommandError, EXIT } from '../errors.ts';

const FILE_MAX_BYTES = 4 * 1024 * 1024;

/** @throws CommandError naming file, line (of broken YAML) and field */
export function loadAuthorityConfig(file: string): AuthorityConfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new CommandError(
      EXIT.usage,
      code === 'ENOENT'
        ? `there is no configuration file ${file}`
        : `the configuration ${file} can't be read: ${message}`,
      { hint: 'give --config FILE; docs/operations.md shows a complete one', cause: error },
    );
  }
  if (text.length > FILE_MAX_BYTES)
    throw new CommandError(EXIT.usage, `${file} is larger than ${FILE_MAX_BYTES} bytes`);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [broken] = document.errors;
  if (broken) {
    const { line, col } = lines.linePos(broken.pos[0]);
    throw new CommandError(EXIT.usage, `${file}:${line}:${col}: ${broken.message}`);
  }
  const result = authorityConfig.safeParse(document.toJS());
  if (!result.success) {
    const problems = result.error.issues.map(
      ({ path, message }) => `${file}: ${path.map(String).join('.')}: ${message}`,
    );
    throw new CommandError(EXIT.usage, problems.join('\n'), {
      hint: 'docs/operations.md shows a complete one',
    });
  }
  const here = (path: string) => resolve(dirname(resolve(file)), path);
  const { dataDir, tls, ...rest } = result.data;
  return {
    ...rest,
    dataDir: here(dataDir),
    ...(tls && { tls: { cert: here(tls.cert), key: here(tls.key) } }),
  };
}
