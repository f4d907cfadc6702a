// Bad input of every kind that reaches a running gateway: a clear refusal, counted, and nothing else is lost.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { freePort, type Gateway, startGateway, tidemark } from '../support/processes.ts';

interface Problem {
  status: number;
  code: string;
  detail: string;
}

describe('bad input', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-bad-'));
  let gateway: Gateway;

  beforeAll(async () => {
    gateway = await startGateway({ dataDir: join(folder, 'data') });
  });
  afterAll(async () => {
    await gateway.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  const post = (topic: string, body: string | Uint8Array<ArrayBuffer>, contentType = 'application/json') =>
    fetch(`${gateway.url}/api/v1/ingest/${topic}`, {
      method: 'POST',
      body,
      headers: { 'content-type': contentType },
    });

  async function stillStores(): Promise<void> {
    const response = await post('plant/probe-1/value', '1');
    expect(response.status).toBe(202);
  }

  test('malformed JSON: 400 that says where', async () => {
    const response = await post('plant/p-1/v', '{"value":');
    expect(response.status).toBe(400);
    expect(response.headers.get('content-type')).toMatch(/application\/problem\+json/);
    expect((await response.json()) as Problem).toMatchObject({ status: 400, code: 'malformed' });
    await stillStores();
  });

  test('an oversized payload: 413', async () => {
    const response = await post('plant/p-1/v', new Uint8Array(1_500_000), 'application/octet-stream');
    expect(response.status).toBe(413);
    expect((await response.json()) as Problem).toMatchObject({ code: 'too-large' });
    await stillStores();
  });

  test.each(['plant/+/v', 'plant/%23', '$SYS/x', `plant/${'x'.repeat(600)}`])(
    'a topic that is none: %s',
    async (topic) => {
      const response = await post(topic, '1');
      expect(response.status).toBe(400);
      expect(((await response.json()) as Problem).detail.length).toBeGreaterThan(10);
      await stillStores();
    },
  );

  test('a WebSocket frame that is not JSON gets an error, and the connection lives on', async () => {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`);
    const answers: Record<string, unknown>[] = [];
    await new Promise<void>((resolve, reject) => {
      socket.on('open', () => {
        socket.send('{"id":');
        socket.send('{"id":7,"topic":"plant/p-9/v","payload":1}');
      });
      socket.on('message', (data) => {
        answers.push(JSON.parse(data.toString()));
        if (answers.length === 2) resolve();
      });
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('closed')));
    });
    socket.close();
    expect(answers.some((answer) => 'error' in answer)).toBe(true);
    expect(answers.some((answer) => answer.ack === 7)).toBe(true);
  });

  test('MQTT: garbage and a packet beyond the limit close that connection only', async () => {
    const hostile = [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]),
      Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ];
    for (const bytes of hostile) {
      await new Promise<void>((resolve) => {
        const socket = connect(gateway.mqttPort, '127.0.0.1', () => socket.write(bytes));
        socket.on('close', () => resolve());
        socket.on('error', () => {});
        socket.resume();
      });
    }
    execFileSync('mosquitto_pub', [
      '-p',
      String(gateway.mqttPort),
      '-q',
      '1',
      '-t',
      'plant/p-1/v',
      '-m',
      '1',
    ]);
  });

  test('what was refused is counted by reason', async () => {
    const status = (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as {
      rejected: Record<string, number>;
    };
    expect(status.rejected.malformed).toBeGreaterThan(0);
    expect(status.rejected['bad-topic']).toBeGreaterThan(0);
    expect(status.rejected['too-large']).toBeGreaterThan(0);
  });

  test('a second gateway on the same data directory is refused and the first goes on', async () => {
    const file = join(folder, 'second.yaml');
    writeFileSync(
      file,
      `dataDir: ${gateway.dataDir}\nmqtt:\n  port: ${await freePort()}\nhttp:\n  port: ${await freePort()}\n`,
    );
    const second = await tidemark(['serve', '--config', file]);
    expect(second.code).toBe(3);
    expect(second.stderr).toMatch(new RegExp(`pid ${gateway.child.pid}|process ${gateway.child.pid}`));
    await stillStores();
  });

  test('a port in use is named', async () => {
    const file = join(folder, 'port.yaml');
    writeFileSync(
      file,
      `dataDir: ${join(folder, 'other')}\nmqtt:\n  port: ${gateway.mqttPort}\nhttp:\n  port: ${await freePort()}\n`,
    );
    const second = await tidemark(['serve', '--config', file]);
    expect(second.code).toBe(3);
    expect(second.stderr).toContain(String(gateway.mqttPort));
  });
});

describe('a full disk', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-full-'));
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=48m', 'tmpfs', disk]).status === 0;

  afterAll(() => {
    if (mounted) spawnSync('umount', ['-l', disk]);
    rmSync(folder, { recursive: true, force: true });
  });

  test.skipIf(!mounted)(
    'refuses with 503 and Retry-After, serves reads, and stores again when space returns, without restart (needs to mount a tmpfs)',
    async () => {
      const gateway = await startGateway({ dataDir: join(disk, 'data'), yaml: 'windows: []\nmodels: []\n' });
      const post = (body: Uint8Array<ArrayBuffer>) =>
        fetch(`${gateway.url}/api/v1/ingest/plant/p-1/blob`, {
          method: 'POST',
          body,
          headers: { 'content-type': 'application/octet-stream' },
        });
      try {
        const ballast = join(disk, 'ballast');
        const acked: number[] = [];
        const first = await post(new Uint8Array(1000).fill(1));
        expect(first.status).toBe(202);
        acked.push(((await first.json()) as { offset: number }).offset);
        // All that is left on the disk, as an operator's runaway log would take it.
        spawnSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=64k'], { stdio: 'ignore' });

        let refused: Response | null = null;
        for (let i = 0; i < 600 && refused === null; i++) {
          const response = await post(new Uint8Array(200_000).fill(i & 255));
          if (response.status === 202) acked.push(((await response.json()) as { offset: number }).offset);
          else refused = response;
        }
        expect(refused?.status).toBe(503);
        expect(Number(refused?.headers.get('retry-after'))).toBeGreaterThan(0);
        expect((await refused!.json()) as Problem).toMatchObject({ code: 'disk-full' });
        expect((await fetch(`${gateway.url}/api/v1/records/${acked[0]}`)).status).toBe(200);
        const pressure = async () => {
          const status = (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as {
            pressure: { value: number; parts: { disk: number } };
          };
          return status.pressure;
        };
        await expect.poll(pressure, { timeout: 5_000 }).toMatchObject({ value: 1, parts: { disk: 1 } });

        rmSync(ballast);
        await expect
          .poll(async () => (await post(new Uint8Array(1000).fill(2))).status, { timeout: 15_000 })
          .toBe(202);
        expect(gateway.child.exitCode).toBe(null);

        expect((await gateway.kill('SIGTERM')).code).toBe(0);
        const audit = await tidemark(['fsck', gateway.dataDir, '--deep', '--json']);
        expect(audit.code, audit.stdout + audit.stderr).toBe(0);
      } finally {
        await gateway.kill('SIGKILL');
      }
    },
  );
});
