// An authority over TLS, asked by a gateway that trusts its certificate authority, and by one that does not.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { authorityConfig } from '../../../ledger/authority/config.ts';
import { startAuthority } from '../../../ledger/authority/server.ts';
import { AuthorityClient } from '../../../ledger/cosign/client.ts';
import { MadeUpLog } from '../authority/log.ts';

const folder = mkdtempSync(join(tmpdir(), 'tidemark-tls-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a submission over https needs the right certificate authority', async () => {
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const make = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
  ];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  execFileSync('openssl', [...make, ...names, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const log = new MadeUpLog({ size: 3 });
  const authority = await startAuthority(
    authorityConfig.parse({
      name: 'w.example.com',
      dataDir: join(folder, 'data'),
      port: 0,
      tls: { cert, key },
      gateways: [{ keys: [log.verifierKey] }],
    }),
    { info: () => {}, warn: () => {}, error: () => {} },
  );
  try {
    const url = authority.url.replace('127.0.0.1', 'localhost');
    const { signal } = new AbortController();
    const submission = { oldSize: 0, proof: [], note: log.note() };
    const stranger = new AuthorityClient({ url, timeoutMs: 30_000 });
    expect(await stranger.submit(submission, signal)).toMatchObject({ kind: 'failed' });
    stranger.close();
    const friend = new AuthorityClient({ url: `${url}/`, timeoutMs: 30_000, ca: readFileSync(cert, 'utf8') });
    expect(await friend.submit(submission, signal)).toMatchObject({ kind: 'answered' });
    friend.close();
  } finally {
    await authority.close();
  }
});
