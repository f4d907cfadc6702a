// A timestamp authority: `openssl ts` behind a small HTTP server, with certificates made for the test.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const noOpenssl = spawnSync('openssl', ['version']).status === 0 ? null : 'there is no openssl here';

export interface Tsa {
  readonly url: string;
  /** PEM of the authority's root. */
  readonly ca: string;
  readonly caFile: string;
  /** Changes answers from now on; null to answer as it should. */
  spoil: ((answer: Buffer) => Buffer | null) | null;
  /** TimeStampResp for a request, made by openssl. */
  reply(request: Uint8Array, options?: { readonly signer?: string }): Buffer;
  close(): Promise<void>;
}

export async function startTsa(): Promise<Tsa> {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-tsa-'));
  const at = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => {
    const { status, stderr } = spawnSync('openssl', args, { cwd: folder });
    if (status !== 0) throw new Error(`openssl ${args.join(' ')}: ${stderr}`);
  };
  writeFileSync(
    at('tsa.cnf'),
    '[tsa]\ndefault_tsa = t\n[t]\nserial = ./serial\nsigner_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = sha256\ness_cert_id_alg = sha256\n',
  );
  writeFileSync(at('serial'), '01\n');
  writeFileSync(at('tsa.ext'), 'extendedKeyUsage=critical,timeStamping\nbasicConstraints=CA:FALSE\n');
  writeFileSync(at('plain.ext'), 'basicConstraints=CA:FALSE\n');
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...ec, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=Test CA', '-days', '2');
  for (const [name, key] of [
    ['rsa', ['-newkey', 'rsa:2048', '-nodes']],
    ['ec', ec],
  ] as const) {
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=Test TSA ${name}`);
    openssl(
      ...['x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'],
      ...['-out', `${name}.pem`, '-days', '2', '-extfile', 'tsa.ext'],
    );
  }
  const reply: Tsa['reply'] = (request, { signer = 'rsa' } = {}) => {
    writeFileSync(at('q'), request);
    openssl(
      ...['ts', '-reply', '-config', 'tsa.cnf', '-queryfile', 'q', '-signer', `${signer}.pem`],
      ...['-inkey', `${signer}.key`, '-out', 'r'],
    );
    return readFileSync(at('r'));
  };
  const tsa = { spoil: null as Tsa['spoil'] };
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const answer = tsa.spoil ? tsa.spoil(reply(Buffer.concat(parts))) : reply(Buffer.concat(parts));
    response.writeHead(answer ? 200 : 503, { 'content-type': 'application/timestamp-reply' });
    response.end(answer ?? '');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(tsa, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/tsa`,
    ca: readFileSync(at('ca.pem'), 'utf8'),
    caFile: at('ca.pem'),
    reply,
    close: async () => {
      await new Promise((resolve) => server.close(resolve));
      rmSync(folder, { recursive: true, force: true });
    },
  });
}
