import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Harness, HarnessOptions } from '../../admission/harness.ts';
import { type ServedIngest, serveIngest } from './served.ts';

const run = promisify(execFile);

let served: ServedIngest;
let harness: Harness;
let base: string;

async function start(options: HarnessOptions = {}): Promise<void> {
  served = await serveIngest({ harness: options });
  ({ harness, base } = served);
}

const stop = () => served.close();

beforeEach(() => start());
afterEach(stop);

const JSON_TYPE = { 'content-type': 'application/json' };
const LINES_TYPE = { 'content-type': 'application/x-ndjson' };

async function post(
  topic: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = JSON_TYPE,
) {
  const response = await fetch(`${base}/api/v1/ingest/${topic}`, { method: 'POST', body, headers });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  };
}

const payloads = async () => (await harness.records()).map(({ payload }) => Buffer.from(payload).toString());

test('a JSON body is stored byte for byte, with what the headers say', async () => {
  const body = '{ "value" : 0.420 }\n';
  const answer = await post('plant/pump-1/vibration', body, {
    ...JSON_TYPE,
    'tidemark-device': Buffer.from('pümp').toString('latin1'),
    'tidemark-sequence': '5',
    'tidemark-event-time': '1763600000000',
  });
  expect(answer).toMatchObject({ status: 202, body: { offset: 0 } });
  expect(await payloads()).toEqual([body]);
  expect((await harness.records())[0]).toMatchObject({
    topic: 'plant/pump-1/vibration',
    device: 'pümp',
    sequence: 5,
    eventMs: 1_763_600_000_000,
    source: 3,
    contentType: 'application/json',
  });
});

test('curl: raw bytes of any type, topic levels decoded', async () => {
  const url = `${base}/api/v1/ingest/plant/cold%20store/door`;
  const { stdout } = await run('curl', [
    '-s',
    '-H',
    'Content-Type: image/png',
    '--data-binary',
    '{no json',
    url,
  ]);
  expect(JSON.parse(stdout)).toEqual({ offset: 0 });
  expect((await harness.records())[0]).toMatchObject({
    topic: 'plant/cold store/door',
    device: 'cold store',
    contentType: 'image/png',
  });
});

test('a repetition is acknowledged and stored once', async () => {
  await post('plant/p/x', '{"seq":1}');
  expect((await post('plant/p/x', '{"seq":1}')).body).toEqual({ offset: null, duplicate: true });
  expect(await payloads()).toHaveLength(1);
});

test('no answer while the sync is held back', async () => {
  harness.disk.hold();
  let answered = false;
  const answer = post('plant/p/x', '1').then((value) => {
    answered = true;
    return value;
  });
  await harness.disk.syncAsked();
  for (let turns = 0; turns < 5; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  expect(answered).toBe(false);
  harness.disk.release();
  expect((await answer).status).toBe(202);
});

test.each([
  ['plant/p/x', '{"value":', JSON_TYPE, 400, 'malformed'],
  ['plant/p/x', '', JSON_TYPE, 400, 'malformed'],
  ['plant/p/x', Buffer.from([0x22, 0xff, 0x22]), JSON_TYPE, 400, 'malformed'],
  ['plant/p/x', '1', { ...JSON_TYPE, 'tidemark-sequence': '-1' }, 400, 'malformed'],
  ['plant/p/x', '1', { ...JSON_TYPE, 'tidemark-sequence': '9007199254740993' }, 400, 'malformed'],
  ['plant/p/x', '1', { ...JSON_TYPE, 'tidemark-event-time': 'noon' }, 400, 'malformed'],
  ['plant/p/x', '1', { ...JSON_TYPE, 'tidemark-device': 'x'.repeat(257) }, 400, 'malformed'],
  ['plant/p/x', '1', { ...JSON_TYPE, 'content-encoding': 'br' }, 415, 'unsupported-type'],
  ['%24SYS/x', '1', JSON_TYPE, 400, 'bad-topic'],
  ['a/+', '1', JSON_TYPE, 400, 'bad-topic'],
  ['', '1', JSON_TYPE, 400, 'bad-topic'],
  ['plant/p/x', Buffer.alloc(524_289), { 'content-type': 'text/plain' }, 413, 'too-large'],
])('%s with %j as %j is answered %i %s', async (topic, body, headers, status, code) => {
  const answer = await post(topic, body, headers);
  expect(answer.body).toMatchObject({
    type: 'about:blank',
    status,
    code,
    title: expect.any(String),
    detail: expect.any(String),
  });
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  expect(await payloads()).toEqual([]);
  expect(harness.admission.figures().refused.http).toBe(1);
});

test('NDJSON: each line a record of its own, blank ones skipped, errors by line', async () => {
  const lines = '{"seq":1}\n\n {"seq":2} \r\nnot json\n{"seq":1}\n[3]';
  const answer = await post('plant/p/x', lines, LINES_TYPE);
  expect(answer).toMatchObject({
    status: 202,
    body: {
      accepted: 3,
      duplicates: 1,
      rejected: 1,
      firstOffset: 0,
      lastOffset: 2,
      errors: [{ line: 4, reason: 'malformed', detail: expect.any(String) }],
    },
  });
  expect(answer.body).not.toHaveProperty('refusal');
  expect(await payloads()).toEqual(['{"seq":1}', ' {"seq":2} \r', '[3]']);
});

test('a batch says of each record what it says alone: its time, its counter, nothing', async () => {
  const ms = Date.now() - 60_000;
  const texts = [
    '{"value":1}',
    `{"ts":${ms},"value":2}`,
    '{"value":3}',
    `{"value":4,"seq":17,"ts":"${new Date(ms).toISOString()}"}`,
    '{"at":{"ts":5,"seq":6}}',
    `{"\\u0074s":${ms},"s\\u0065q":8}`,
    '{"ts":null,"seq":-1}',
    '[{"seq":1}]',
    '"seq"',
  ];
  for (const text of texts) expect((await post('plant/alone/x', text)).status).toBe(202);
  for (const body of [texts, texts.toReversed()])
    expect((await post('plant/batch/x', body.join('\n'), LINES_TYPE)).body).toMatchObject({ rejected: 0 });
  const said = new Map<string, string[]>();
  for (const { payload, eventMs, receivedMs, sequence } of await harness.records()) {
    const text = Buffer.from(payload).toString();
    const given = `${eventMs === receivedMs ? null : eventMs} ${sequence}`;
    said.set(text, [...(said.get(text) ?? []), given]);
  }
  expect([...said.keys()]).toEqual(texts);
  for (const all of said.values()) expect(new Set(all).size).toBe(1);
  expect(said.get(texts[1]!)).toContain(`${ms} null`);
  expect(said.get(texts[5]!)).toContain(`${ms} 8`);
});

test('NDJSON for a topic with a schema is held against it, line by line', async () => {
  await stop();
  const schema = { type: 'object', properties: { value: { type: 'number' } } };
  await start({ ingest: { schemas: [{ topics: ['plant/#'], schema }] } });
  const answer = await post('plant/p/x', '{"value":1}\n{"value":"high"}\n{"value":2}', LINES_TYPE);
  expect(answer.body).toMatchObject({ accepted: 2, errors: [{ line: 2, reason: 'invalid' }] });
  expect(await payloads()).toEqual(['{"value":1}', '{"value":2}']);
});

test('NDJSON without one accepted line is 400, with the results', async () => {
  const answer = await post('plant/p/x', '{\n}\n', LINES_TYPE);
  expect(answer).toMatchObject({ status: 400, body: { code: 'malformed', accepted: 0, rejected: 2 } });
  expect((await post('plant/p/x', '\n\n', LINES_TYPE)).status).toBe(400);
  expect((await post('plant/p/x', '1', { ...LINES_TYPE, 'tidemark-sequence': '1' })).status).toBe(400);
});

test('NDJSON has a limit of lines and of bytes', async () => {
  await stop();
  await start({ ingest: { maxBatchLines: 3, maxBatchBytes: 1024 } });
  expect((await post('a', '1\n2\n3\n', LINES_TYPE)).body).toMatchObject({ accepted: 3 });
  expect((await post('a', '1\n2\n3\n4', LINES_TYPE)).status).toBe(413);
  expect((await post('a', '1'.repeat(1025), LINES_TYPE)).status).toBe(413);
  expect(await payloads()).toHaveLength(3);
});

test('a full disk is 503 with Retry-After, single and batch', async () => {
  await post('a', '0');
  harness.disk.full = true;
  for (const headers of [JSON_TYPE, LINES_TYPE]) {
    const answer = await post('a', '1', headers);
    expect(answer).toMatchObject({ status: 503, body: { code: 'disk-full' } });
    expect(answer.headers.get('retry-after')).toBe('5');
  }
});

test('a log that is behind is 429 with Retry-After', async () => {
  await stop();
  await start({ log: { maxRecordBytes: 32_768, maxPendingBytes: 65_536 } });
  harness.disk.hold();
  const many = Array.from({ length: 40 }, () => post('a', JSON.stringify('x'.repeat(8000))));
  const refused = await Promise.race(
    many.map(async (one) => ((await one).status === 429 ? one : new Promise<never>(() => {}))),
  );
  expect(refused.body).toMatchObject({ code: 'overloaded' });
  expect(refused.headers.get('retry-after')).toBe('1');
  harness.disk.release();
  const statuses = (await Promise.all(many)).map(({ status }) => status);
  expect(new Set(statuses)).toEqual(new Set([202, 429]));
  expect(await payloads()).toHaveLength(statuses.filter((status) => status === 202).length);
});

test('garbage to the port harms nobody else', async () => {
  const port = Number(new URL(base).port);
  const heads = [
    'POST /api/v1/ingest/%ff%fe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1',
    'POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1',
    'POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    'POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: ;;;\r\nContent-Length: 1\r\n\r\n1',
    'POST /api/v1/ingest/a HTTP/1.1\r\nContent-Length: 1\r\n\r\n1',
    '\x16\x03\x01\x02\x00\x01\x00',
  ];
  for (const head of heads) {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.resume();
    socket.end(head);
    await once(socket, 'close');
  }
  expect((await post('a', '1')).status).toBe(202);
});
