// Makes real certificates with openssl for tests: an authority, a server's and clients'. Nothing is kept.
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const noOpenssl = ['/usr/bin/openssl', '/usr/local/bin/openssl'].some(existsSync)
  ? null
  : 'there is no openssl on this machine';

export interface Pair {
  readonly cert: string;
  readonly key: string;
}

const openssl = (...words: string[]) => execFileSync('openssl', words, { stdio: 'pipe' });

/** `<folder>/<name>.crt` and `.key`, signed by itself. */
export function authority(folder: string, name: string): Pair {
  const pair = pairIn(folder, name);
  newKey(pair.key);
  openssl('req', '-x509', '-new', '-key', pair.key, '-out', pair.cert, '-days', '30', '-subj', `/CN=${name}`);
  return pair;
}

/** `alt` e.g. `DNS:localhost,IP:127.0.0.1`. */
export function certificate(
  folder: string,
  name: string,
  by: Pair,
  {
    file = name,
    alt = 'DNS:localhost,IP:127.0.0.1',
    days = 30,
  }: { file?: string; alt?: string; days?: number } = {},
): Pair {
  const pair = pairIn(folder, file);
  const request = join(folder, `${file}.csr`);
  const extensions = join(folder, `${file}.ext`);
  newKey(pair.key);
  writeFileSync(extensions, `subjectAltName=${alt}\n`);
  openssl('req', '-new', '-key', pair.key, '-out', request, '-subj', `/CN=${name}`);
  openssl(
    ...['x509', '-req', '-in', request, '-CA', by.cert, '-CAkey', by.key, '-CAcreateserial'],
    ...['-out', pair.cert, '-days', String(days), '-extfile', extensions],
  );
  return pair;
}

const newKey = (file: string) =>
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', file);

const pairIn = (folder: string, name: string): Pair => ({
  cert: join(folder, `${name}.crt`),
  key: join(folder, `${name}.key`),
});
