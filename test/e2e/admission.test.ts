// Admission's rules as real clients see them: rates, schemas, message ids and clocks, over MQTT 5 (MQTT.js) and HTTP.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync, type ErrorWithReasonCode, type IPublishPacket, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Gateway, startGateway } from '../support/processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'tidemark-admission-'));
const yaml = `windows: []
models: []
mqtt: { overloadHoldMs: 300 }
ingest:
  rate: { device: { perSecond: 0.01, burst: 3 } }
  schemas:
    - { topics: ['strict/#'], mode: reject, schema: { type: object, required: [value] } }
    - { topics: ['odd/#'], mode: quarantine, schema: { type: object, required: [value] } }
`;
let gateway: Gateway;
let client: MqttClient;
const heard: string[] = [];
const start = async () => {
  gateway = await startGateway({ dataDir: join(folder, 'data'), yaml });
};

beforeAll(async () => {
  await start();
  client = await connectAsync(`mqtt://127.0.0.1:${gateway.mqttPort}`, {
    protocolVersion: 5,
    reconnectPeriod: 0,
  });
  client.on('message', (topic) => heard.push(topic));
  await client.subscribeAsync('#', { qos: 1 });
}, 60_000);
afterAll(async () => {
  client.end(true);
  await gateway.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** The reason code of the PUBACK; 0 where it is a success of any kind. */
async function publish(
  topic: string,
  payload: string,
  properties: IPublishPacket['properties'] = {},
): Promise<number> {
  try {
    await client.publishAsync(topic, payload, { qos: 1, properties });
    return 0;
  } catch (error) {
    return (error as ErrorWithReasonCode).code;
  }
}

async function post(topic: string, body: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${gateway.url}/api/v1/ingest/${topic}`, { method: 'POST', body, headers });
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    body: (await response.json()) as Record<string, unknown>,
  };
}

async function recordsOf(topic: string) {
  const response = await fetch(`${gateway.url}/api/v1/records?topic=${encodeURIComponent(topic)}`);
  return ((await response.json()) as { records: { headers: unknown; offset: number }[] }).records;
}

test('a device beyond its rate: 0x97 after the hold, 429 with Retry-After; others are taken', async () => {
  for (let count = 0; count < 3; count += 1) expect(await publish('plant/fast/x', `${count}`)).toBe(0);
  expect(await publish('plant/fast/x', '4')).toBe(0x97);
  expect(await post('plant/fast/x', '5')).toMatchObject({ status: 429, body: { code: 'rate-limited' } });
  expect(Number((await post('plant/fast/x', '5')).retryAfter)).toBeGreaterThan(60);
  expect(await publish('plant/slow/x', '1')).toBe(0);
});

test('a payload that does not fit its schema: 0x99 and 400; quarantine acknowledges and tells no subscriber', async () => {
  expect(await publish('strict/a/x', '{"other":1}')).toBe(0x99);
  expect(await post('strict/a/x', '{"other":1}')).toMatchObject({
    status: 400,
    body: { code: 'invalid', detail: expect.stringContaining("must have required property 'value'") },
  });
  expect(await publish('odd/a/x', 'not json')).toBe(0);
  expect(await publish('odd/b/x', '{"value":1}')).toBe(0);
  await vi.waitFor(() => expect(heard).toContain('odd/b/x'), 30_000);
  expect(heard).not.toContain('odd/a/x');
  expect(await recordsOf('$tidemark/quarantine/odd/a/x')).toHaveLength(1);
  expect(await recordsOf('odd/a/x')).toEqual([]);
});

test('a message id counts once, by MQTT and HTTP alike, also after kill -9', async () => {
  const properties = { userProperties: { 'message-id': 'job-1' } };
  expect(await publish('plant/ids/x', '{"n":1}', properties)).toBe(0);
  expect(await publish('plant/ids/x', '{"n":1}', properties)).toBe(0);
  const [record, ...more] = await recordsOf('plant/ids/x');
  expect(more).toEqual([]);
  const again = { status: 202, body: { offset: record!.offset, duplicate: true } };
  const key = { 'idempotency-key': 'job-1', 'content-type': 'application/json' };
  expect(await post('plant/ids/x', '{"n":1}', key)).toMatchObject(again);
  expect(await post('plant/ids/x', '{"n":2}', key)).toMatchObject({
    status: 400,
    body: { code: 'malformed' },
  });
  client.end(true);
  await gateway.kill('SIGKILL');
  await start();
  expect(await post('plant/ids/x', '{"n":1}', key)).toMatchObject(again);
  expect(await recordsOf('plant/ids/x')).toHaveLength(1);
}, 60_000);
