// The HTTP port over TLS: curl, WebSocket, and a new server certificate without a connection lost.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { authority, certificate, noOpenssl } from '../gateway/access/certificates.ts';
import { startGateway } from '../support/processes.ts';

const run = promisify(execFile);

async function answerOf(socket: TLSSocket, request: string): Promise<string> {
  socket.write(request);
  const [data] = (await once(socket, 'data')) as [Buffer];
  return data.toString();
}

test.skipIf(noOpenssl !== null)(
  'HTTPS and WSS; SIGHUP puts a new certificate in place, open connections stay',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-https-'));
    const ca = authority(folder, 'ca');
    const own = certificate(folder, 'localhost', ca, { days: 5 });
    const gateway = await startGateway({
      dataDir: join(folder, 'data'),
      yaml: `windows: []\nmodels: []\nhttp: {tls: {cert: ${own.cert}, key: ${own.key}}}\n`,
    });
    try {
      await expect
        .poll(() => gateway.output(), { timeout: 30_000 })
        .toMatch(/"setting":"http\.tls".*the TLS certificate expires in/);
      const at = `localhost:${gateway.httpPort}`;
      const post = ['-s', '--cacert', ca.cert, '-d', '1', '-H', 'content-type: text/plain'];
      const { stdout } = await run('curl', [...post, `https://${at}/api/v1/ingest/plant/p/x`]);
      expect(JSON.parse(stdout)).toEqual({ offset: 0 });
      const trusted = { ca: readFileSync(ca.cert) };
      const socket = new WebSocket(`wss://${at}/ws`, trusted);
      await once(socket, 'open');
      socket.send('{"id":1,"topic":"a","payload":1}');
      expect(JSON.parse(String((await once(socket, 'message'))[0]))).toEqual({ ack: 1, offset: 1 });

      const open = connect({
        port: gateway.httpPort,
        host: 'localhost',
        servername: 'localhost',
        ...trusted,
      });
      await once(open, 'secureConnect');
      const before = open.getPeerCertificate().fingerprint256;
      const request = 'POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1';
      expect(await answerOf(open, request)).toContain(' 202 ');
      certificate(folder, 'localhost', ca);
      gateway.child.kill('SIGHUP');
      const fingerprint = async () => {
        const fresh = connect({
          port: gateway.httpPort,
          host: 'localhost',
          servername: 'localhost',
          ...trusted,
        });
        await once(fresh, 'secureConnect');
        const seen = fresh.getPeerCertificate().fingerprint256;
        fresh.destroy();
        return seen;
      };
      while ((await fingerprint()) === before) await new Promise((resolve) => setTimeout(resolve, 50));
      expect(await answerOf(open, request)).toContain(' 202 ');
      expect(socket.readyState).toBe(WebSocket.OPEN);
      open.destroy();
      socket.close();

      await expect(run('curl', ['-sf', `http://${at}/healthz`])).rejects.toThrow();
    } finally {
      await gateway.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
