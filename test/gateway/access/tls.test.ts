import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer, type Server, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  clientCertificateOf,
  type TlsConfig,
  TlsMaterial,
  tlsConfigSchema,
  tlsWarning,
} from '../../../gateway/access/tls.ts';
import type { ClientCertificate } from '../../../gateway/access/types.ts';
import { authority, certificate, noOpenssl, type Pair } from './certificates.ts';

if (noOpenssl) console.log(`TLS tests are skipped: ${noOpenssl}`);

describe.skipIf(noOpenssl !== null)('TLS material', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-tls-'));
  let ca: Pair;
  let first: Pair;
  let second: Pair;
  const opened: Server[] = [];

  beforeAll(() => {
    ca = authority(folder, 'ca');
    first = certificate(folder, 'localhost', ca, { file: 'first' });
    second = certificate(folder, 'localhost', ca, { file: 'second' });
  });
  afterAll(() => {
    for (const server of opened) server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const config = (more: Partial<TlsConfig> = {}): TlsConfig =>
    tlsConfigSchema.parse({ cert: first.cert, key: first.key, ...more });
  const codeOf = (act: () => unknown) => {
    try {
      act();
      return 'none';
    } catch (error) {
      return (error as { code: string }).code;
    }
  };

  async function serve(material: TlsMaterial, onSocket: (socket: TLSSocket) => void): Promise<number> {
    const server = createServer(material.serverOptions, onSocket).listen(0, '127.0.0.1');
    material.follow(server);
    opened.push(server);
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }
  const dial = async (port: number, more: object = {}) => {
    const socket = connect({ port, host: '127.0.0.1', ca: readFileSync(ca.cert), ...more });
    await once(socket, 'secureConnect');
    return socket;
  };
  const fingerprint = (socket: TLSSocket) =>
    socket.getPeerCertificate().fingerprint256.replaceAll(':', '').toLowerCase();

  test('refuses what does not fit, and says which file', () => {
    const junk = join(folder, 'junk.pem');
    writeFileSync(junk, 'not a certificate\n');
    expect(codeOf(() => TlsMaterial.load(config({ cert: join(folder, 'none.crt') }), 't'))).toBe(
      'TLS_FILE_UNREADABLE',
    );
    expect(codeOf(() => TlsMaterial.load(config({ cert: junk }), 't'))).toBe('TLS_CERTIFICATE_INVALID');
    expect(codeOf(() => TlsMaterial.load(config({ key: junk }), 't'))).toBe('TLS_KEY_INVALID');
    expect(codeOf(() => TlsMaterial.load(config({ ca: junk }), 't'))).toBe('TLS_CERTIFICATE_INVALID');
    expect(codeOf(() => TlsMaterial.load(config({ key: second.key }), 't'))).toBe('TLS_PAIR_MISMATCH');
    expect(() => TlsMaterial.load(config({ key: second.key }), 'http.tls')).toThrow(
      `http.tls: the key ${second.key} is not the one of the certificate ${first.cert}`,
    );
    expect(tlsConfigSchema.safeParse({ ...first, clientCertificates: 'require' }).success).toBe(false);
  });

  test('a reload serves the new certificate, and an open connection goes on with the old one', async () => {
    const material = TlsMaterial.load(config(), 't');
    const port = await serve(material, (socket) => socket.pipe(socket));
    const before = await dial(port);
    expect(fingerprint(before)).toBe(material.files.fingerprint);

    expect(() => material.read(config({ key: second.key }))).toThrow('is not the one of the certificate');
    const unchanged = await dial(port);
    expect(fingerprint(unchanged)).toBe(fingerprint(before));
    unchanged.destroy();

    const changed = config({ cert: second.cert, key: second.key });
    material.use(material.read(changed), changed);
    const after = await dial(port);
    expect(fingerprint(after)).not.toBe(fingerprint(before));
    expect(fingerprint(after)).toBe(material.files.fingerprint);
    before.write('still here');
    expect(String((await once(before, 'data'))[0])).toBe('still here');
    before.destroy();
    after.destroy();
  });

  test('TLS 1.1 is refused', async () => {
    const port = await serve(TlsMaterial.load(config(), 't'), () => {});
    const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
    await expect(dial(port, old)).rejects.toThrow();
    await expect(dial(port, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).resolves.toBeDefined();
  });

  test('a client certificate counts when the authority signed it, and as none when another did', async () => {
    const other = authority(folder, 'other');
    const client = certificate(folder, 'pump-1', ca, { alt: 'DNS:pump-1.plant,URI:urn:pump:1,IP:10.0.0.1' });
    const stranger = certificate(folder, 'pump-2', other);
    const material = TlsMaterial.load(config({ ca: ca.cert, clientCertificates: 'request' }), 't');
    const seen: (ClientCertificate | undefined)[] = [];
    const port = await serve(material, (socket) => {
      seen.push(clientCertificateOf(socket));
      socket.end('seen');
    });
    const show = async (pair?: Pair) => {
      const shown = pair ? { cert: readFileSync(pair.cert), key: readFileSync(pair.key) } : {};
      const socket = await dial(port, shown);
      await once(socket, 'data');
      socket.destroy();
      return seen.at(-1);
    };
    expect(await show(client)).toEqual({
      commonName: 'pump-1',
      altNames: ['pump-1.plant', 'urn:pump:1'],
      fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect(await show(stranger)).toBeUndefined();
    expect(await show()).toBeUndefined();
  });

  test('a certificate that soon expires is worth a warning', () => {
    const { files } = TlsMaterial.load(config(), 't');
    expect(tlsWarning(files, Date.now())).toBeNull();
    expect(tlsWarning(files, files.validToMs - 86_400_000)).toContain('expires in 1 days');
    expect(tlsWarning(files, files.validToMs + 1)).toContain('has expired');
  });
});
