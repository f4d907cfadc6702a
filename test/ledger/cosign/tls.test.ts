// An authority over TLS: asked by a gateway that trusts its certificate authority and by one that does not; and given a new
// certificate while it runs, without a connection lost.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TLSSocket } from 'node:tls';
import { afterAll, expect, test, vi } from 'vitest';
import { AuthorityClient } from '../../../ledger/cosign/client.ts';
import {
  certificate,
  authority as certificateAuthority,
  noOpenssl,
} from '../../gateway/access/certificates.ts';
import { ended, freePort, ROOT, untilListening } from '../../support/processes.ts';
import { MadeUpLog } from '../authority/log.ts';

const folder = mkdtempSync(join(tmpdir(), 'tidemark-tls-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** GET /healthz through this agent, and what certificate its connection began with. */
async function health(
  agent: Agent,
  port: number,
): Promise<{ status: number; fingerprint: string; reused: boolean }> {
  const asked = request({ host: 'localhost', port, path: '/healthz', agent }).end();
  const [response] = await once(asked, 'response');
  const { fingerprint256 } = (response.socket as TLSSocket).getPeerCertificate();
  response.resume();
  await once(response, 'end');
  return { status: response.statusCode, fingerprint: fingerprint256, reused: asked.reusedSocket };
}

test.skipIf(noOpenssl !== null)(
  'a submission over https needs the right certificate authority; SIGHUP puts a new certificate in place, open connections stay',
  async () => {
    const ca = certificateAuthority(folder, 'ca');
    const own = certificate(folder, 'localhost', ca, { days: 5 });
    const log = new MadeUpLog({ size: 3 });
    const port = await freePort();
    const config = join(folder, 'authority.yaml');
    writeFileSync(
      config,
      `name: w.example.com\nport: ${port}\ntls: {cert: ${own.cert}, key: ${own.key}}\ngateways: [{keys: ['${log.verifierKey}']}]\n`,
    );
    const child = spawn(process.execPath, [join(ROOT, 'bin', 'tidemark.ts'), 'authority', '-c', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const said: string[] = [];
    createInterface({ input: child.stderr }).on('line', (line) => said.push(line));
    const until = (text: string) =>
      vi.waitFor(() => expect(said.join('\n')).toContain(text), { timeout: 30_000, interval: 50 });
    const trusted = readFileSync(ca.cert, 'utf8');
    const keeping = new Agent({ keepAlive: true, maxSockets: 1, ca: trusted });
    try {
      await untilListening(port, child);
      await until('the TLS certificate expires in');
      const url = `https://localhost:${port}`;
      const { signal } = new AbortController();
      const submission = { oldSize: 0, proof: [], note: log.note() };
      const stranger = new AuthorityClient({ url, timeoutMs: 30_000 });
      expect(await stranger.submit(submission, signal)).toMatchObject({ kind: 'failed' });
      stranger.close();
      const friend = new AuthorityClient({ url: `${url}/`, timeoutMs: 30_000, ca: trusted });
      expect(await friend.submit(submission, signal)).toMatchObject({ kind: 'answered' });
      friend.close();

      const before = await health(keeping, port);
      // A key that is not the certificate's: nothing changes.
      const key = readFileSync(own.key);
      copyFileSync(ca.key, own.key);
      child.kill('SIGHUP');
      await until('nothing has changed');
      expect(await health(new Agent({ ca: trusted }), port)).toMatchObject({
        fingerprint: before.fingerprint,
      });
      writeFileSync(own.key, key);

      certificate(folder, 'localhost', ca);
      child.kill('SIGHUP');
      await until('the configuration is in force');
      const after = await health(new Agent({ ca: trusted }), port);
      expect(after.fingerprint).not.toBe(before.fingerprint);
      // The connection from before is still good, under the certificate it began with.
      expect(await health(keeping, port)).toEqual({
        status: 200,
        fingerprint: before.fingerprint,
        reused: true,
      });
      expect(said.join('\n')).not.toContain('wait for a restart');
    } finally {
      keeping.destroy();
      child.kill('SIGKILL');
      await ended(child);
    }
  },
  120_000,
);
