// What the README promises a new user: real clients send, a record is proven, the proof verifies offline, and a
// changed byte is found and named.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { type Gateway, startGateway, tidemark } from '../support/processes.ts';

describe('a first device and a first proof', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-e2e-'));
  const dataDir = join(folder, 'data');
  const proofFile = join(folder, 'p.json');
  let gateway: Gateway;

  beforeAll(async () => {
    gateway = await startGateway({ dataDir });
  });
  afterAll(async () => {
    await gateway.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  async function recordAt(offset: number): Promise<{ topic: string; device: string; payload: string }> {
    const response = await fetch(`${gateway.url}/api/v1/records/${offset}`);
    expect(response.status).toBe(200);
    const { record } = (await response.json()) as {
      record: { topic: string; device: string; payload: string };
    };
    return { ...record, payload: Buffer.from(record.payload, 'base64').toString() };
  }

  async function findOffset(topic: string): Promise<number> {
    const response = await fetch(
      `${gateway.url}/api/v1/records?from=0&limit=1000&topic=${encodeURIComponent(topic)}`,
    );
    const { records } = (await response.json()) as { records: { offset: number; topic: string }[] };
    const found = records.find((record) => record.topic === topic);
    expect(found, `a record of ${topic}`).toBeDefined();
    return found!.offset;
  }

  test('mosquitto_pub by MQTT: stored byte for byte under the device of the topic', async () => {
    execFileSync('mosquitto_pub', [
      '-p',
      String(gateway.mqttPort),
      '-q',
      '1',
      '-t',
      'plant/pump-1/vibration',
      '-m',
      '{"value":0.42}',
    ]);
    const stored = await recordAt(await findOffset('plant/pump-1/vibration'));
    expect(stored).toMatchObject({ device: 'pump-1', payload: '{"value":0.42}' });
  });

  test('curl by HTTP: 202 with the offset', async () => {
    const answer = execFileSync(
      'curl',
      [
        '-s',
        '-w',
        ' %{http_code}',
        '--data',
        '{"value": 7.5}',
        '-H',
        'content-type: application/json',
        `${gateway.url}/api/v1/ingest/plant/cold-1/temperature`,
      ],
      { encoding: 'utf8' },
    );
    const [body, status] = [
      answer.slice(0, answer.lastIndexOf(' ')),
      answer.slice(answer.lastIndexOf(' ') + 1),
    ];
    expect(status).toBe('202');
    const { offset } = JSON.parse(body) as { offset: number };
    expect(await recordAt(offset)).toMatchObject({ device: 'cold-1', payload: '{"value": 7.5}' });
  });

  test('a WebSocket client: acked by its own id', async () => {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`);
    const ack = await new Promise<{ ack: string; offset: number }>((resolve, reject) => {
      socket.once('open', () =>
        socket.send('{"id":"a1","topic":"plant/air-1/co2","payload":{"value": 612.0}}'),
      );
      socket.once('message', (data) => resolve(JSON.parse(data.toString())));
      socket.once('error', reject);
    });
    socket.close();
    expect(ack.ack).toBe('a1');
    expect(await recordAt(ack.offset)).toMatchObject({ device: 'air-1', payload: '{"value": 612.0}' });
  });

  test('prove, then verify: valid; also from a running gateway', async () => {
    const offset = await findOffset('plant/pump-1/vibration');
    await expect
      .poll(
        async () =>
          (await tidemark(['prove', '--offset', String(offset), '--data-dir', dataDir, '--out', proofFile]))
            .code,
        { timeout: 10_000 },
      )
      .toBe(0);
    const verified = await tidemark(['verify', proofFile, '--data-dir', dataDir]);
    expect(verified.stdout).toMatch(/valid/);
    expect(verified.code).toBe(0);

    const fromUrl = await tidemark(['prove', '--offset', String(offset), '--url', gateway.url]);
    expect(fromUrl.code).toBe(0);
    const piped = await tidemark(['verify', '-', '--data-dir', dataDir, '--json'], fromUrl.stdout);
    expect(piped.code).toBe(0);
    expect(JSON.parse(piped.stdout)).toMatchObject({ valid: true });
  });

  test('one byte of the payload changed: exit 1 and the step that fails is named', async () => {
    const proof = JSON.parse(readFileSync(proofFile, 'utf8')) as { record: { payload: string } };
    const payload = Buffer.from(proof.record.payload, 'base64');
    payload[10]! ^= 1;
    proof.record.payload = payload.toString('base64');
    writeFileSync(proofFile, JSON.stringify(proof));
    const verified = await tidemark(['verify', proofFile, '--data-dir', dataDir]);
    expect(verified.code).toBe(1);
    expect(verified.stdout).toMatch(/batch root.*(fail|✗|does not)/i);
  });

  test('a proof with no key to trust is not called valid', async () => {
    const offset = await findOffset('plant/pump-1/vibration');
    const { stdout } = await tidemark(['prove', '--offset', String(offset), '--url', gateway.url]);
    const elsewhere = await tidemark(['verify', '-'], stdout, folder);
    expect(elsewhere.code).toBe(2);
    expect(elsewhere.stdout + elsewhere.stderr).toMatch(/--policy/);
  });

  test('audit of the directory and of the URL is clean', async () => {
    const ofDir = await tidemark(['audit', dataDir, '--json']);
    expect(ofDir.code, ofDir.stdout + ofDir.stderr).toBe(0);
    const ofUrl = await tidemark(['audit', gateway.url, '--json']);
    expect(ofUrl.code, ofUrl.stdout + ofUrl.stderr).toBe(0);
  });
});
