// What bodies may be: compressed, CBOR, batches of three kinds, named by a key; and what becomes of those too long.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { encode } from 'cborg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ServedIngest, type ServedOptions, serveIngest } from './served.ts';

const run = promisify(execFile);

let served: ServedIngest;

beforeEach(async () => {
  served = await serveIngest();
});
afterEach(() => served.close());

async function again(options: ServedOptions): Promise<void> {
  await served.close();
  served = await serveIngest(options);
}

async function post(topic: string, body: string | Uint8Array, headers: Record<string, string> = {}) {
  const sent = typeof body === 'string' ? body : new Uint8Array(body);
  const response = await fetch(`${served.base}/api/v1/ingest/${topic}`, {
    method: 'POST',
    body: sent,
    headers,
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const stored = async () =>
  (await served.harness.records()).map(({ payload, contentType }) => [
    contentType,
    Buffer.from(payload).toString('utf8'),
  ]);
const JSON_TYPE = { 'content-type': 'application/json' };
const CBOR_TYPE = { 'content-type': 'application/cbor' };

test.each([
  ['gzip', gzipSync],
  ['x-gzip', gzipSync],
  ['zstd', zstdCompressSync],
] as const)('%s: what is stored is what the device meant', async (coding, compress) => {
  const body = '{"value": 1.50, "text":"é"}';
  const headers = { ...JSON_TYPE, 'content-encoding': coding };
  expect(await post('a/b', compress(body), headers)).toMatchObject({ status: 202, body: { offset: 0 } });
  expect(await stored()).toEqual([['application/json', body]]);
  const cut = compress(body).subarray(0, 12);
  expect(await post('a/b', cut, headers)).toMatchObject({ status: 400, body: { code: 'malformed' } });
  expect((await post('a/b', '{}', headers)).status).toBe(400);
});

test('a small body that would become a large one is 413, and nothing is kept of it', async () => {
  await again({ harness: { ingest: { maxPayloadBytes: 4096, maxBatchBytes: 8192 } } });
  const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024, '1'));
  expect(bomb.length).toBeLessThan(4096);
  for (const type of ['application/json', 'application/x-ndjson', 'image/png']) {
    const answer = await post('a', bomb, { 'content-type': type, 'content-encoding': 'zstd' });
    expect(answer).toMatchObject({ status: 413, body: { code: 'too-large' } });
  }
  const gzipped = gzipSync(Buffer.alloc(1024 * 1024, '1'));
  expect((await post('a', gzipped, { 'content-encoding': 'gzip' })).status).toBe(413);
  expect(await stored()).toEqual([]);
  expect(served.ingest.heldBytes).toBe(0);
});

test('curl --compressed bodies, and its own 413 for one far too long', async () => {
  const url = `${served.base}/api/v1/ingest/a/b`;
  const answered = ['-s', '-w', '%{http_code}', '-o', '/dev/null'];
  const script = `head -c 40000000 /dev/zero | curl ${answered.join(' ')} --data-binary @- ${url}`;
  expect((await run('sh', ['-c', script])).stdout).toBe('413');
  const script2 = `printf 1 | gzip | curl ${answered.join(' ')} -H 'Content-Encoding: gzip' --data-binary @- ${url}`;
  expect((await run('sh', ['-c', script2])).stdout).toBe('202');
});

test.each([
  ['declared', (size: number) => `Content-Length: ${size}\r\n\r\n`, false],
  ['chunked', () => 'Transfer-Encoding: chunked\r\n\r\n', true],
] as const)(
  'a client that is busy sending sees the 413 (%s), and the connection goes on',
  async (_, head, chunked) => {
    const size = 3 * 1024 * 1024;
    const socket = connect(Number(new URL(served.base).port), '127.0.0.1');
    let answer = '';
    const ended = new Promise<void>((resolve, reject) => {
      socket.on('data', (data) => {
        answer += data.toString();
        if (answer.includes('"offset":0}')) resolve();
      });
      socket.on('error', reject);
      socket.on('close', resolve);
    });
    socket.write(`POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\n${head(size)}`);
    const bytes = randomBytes(size).fill(0x31);
    socket.write(chunked ? `${size.toString(16)}\r\n` : '');
    socket.write(bytes);
    socket.write(chunked ? '\r\n0\r\n\r\n' : '');
    socket.write('POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1');
    await ended;
    socket.destroy();
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toContain('"code":"too-large"');
    expect(answer).toContain('HTTP/1.1 202 ');
  },
);

test('a body beyond all patience ends the connection after the answer', async () => {
  await again({ http: { maxDrainBytes: 1024 * 1024 } });
  const socket = connect(Number(new URL(served.base).port), '127.0.0.1');
  let answer = '';
  socket.on('data', (data) => {
    answer += data.toString();
  });
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write('POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n');
  const more = () => {
    while (!socket.destroyed && socket.write(Buffer.alloc(65_536)));
  };
  socket.on('drain', more);
  more();
  await closed;
  expect(answer).toMatch(/^HTTP\/1\.1 413 /);
});

test('bodies of all requests together are bounded: one more is 429', async () => {
  await again({ harness: { ingest: { maxBatchBytes: 1024 * 1024 } }, http: { maxHeldBytes: 1024 * 1024 } });
  const lines = { 'content-type': 'application/x-ndjson' };
  const port = Number(new URL(served.base).port);
  const slow = connect(port, '127.0.0.1');
  const size = 900_000;
  slow.write(
    `POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: ${size}\r\n\r\n`,
  );
  slow.write('1'.repeat(size - 1));
  while (served.ingest.heldBytes < size - 1) await new Promise((resolve) => setImmediate(resolve));
  const body = '2\n'.repeat(100_000);
  expect(await post('a', body, lines)).toMatchObject({ status: 429, body: { code: 'overloaded' } });
  slow.write('\n');
  await new Promise((resolve) => slow.once('data', resolve));
  slow.destroy();
  while (served.ingest.heldBytes > 0) await new Promise((resolve) => setImmediate(resolve));
  expect((await post('a', body, lines)).status).toBe(413); // too many lines, but taken in
});

test('CBOR must be one well-formed item, and its time and counter are read', async () => {
  const body = Buffer.from(encode({ ts: 1_763_600_000_000, seq: 7, value: 1.5 }));
  expect(await post('plant/p/x', body, CBOR_TYPE)).toMatchObject({ status: 202, body: { offset: 0 } });
  expect((await post('plant/p/x', body, CBOR_TYPE)).body).toEqual({ offset: null, duplicate: true });
  const [record] = await served.harness.records();
  expect(record).toMatchObject({ sequence: 7, eventMs: 1_763_600_000_000, contentType: 'application/cbor' });
  expect(Buffer.from(record!.payload)).toEqual(body);
  for (const bad of [body.subarray(0, 5), Buffer.concat([body, body]), Buffer.alloc(0), Buffer.from([0xff])])
    expect(await post('plant/p/x', bad, CBOR_TYPE)).toMatchObject({
      status: 400,
      body: { code: 'malformed' },
    });
});

test('a JSON array as a batch: each element a record, byte for byte', async () => {
  const body = '[ {"seq":1, "v": 1.0},\n {"seq":1, "v": 1.0}, 3 , {"seq":2,"é":[]} ]';
  expect(await post('a/b?batch=array', body, JSON_TYPE)).toEqual({
    status: 202,
    body: { accepted: 3, duplicates: 1, rejected: 0, firstOffset: 0, lastOffset: 2, errors: [] },
  });
  expect((await stored()).map(([, payload]) => payload)).toEqual([
    '{"seq":1, "v": 1.0}',
    '3',
    '{"seq":2,"é":[]}',
  ]);
  expect((await post('a/b', body, JSON_TYPE)).body).toEqual({ offset: 3 });
  for (const bad of ['{}', '[1', '[]', '']) {
    const answer = await post('a/b?batch=array', bad, JSON_TYPE);
    expect(answer).toMatchObject({ status: 400, body: { code: 'malformed' } });
  }
  expect((await post('a/b?batch=lines', '[1]', JSON_TYPE)).status).toBe(400);
  expect((await post('a/b?batch=array', '[1]', CBOR_TYPE)).status).toBe(400);
});

test('a CBOR sequence as a batch; what follows a broken item is lost with it, and said', async () => {
  const type = { 'content-type': 'application/cbor-seq' };
  const parts = [{ seq: 1 }, { seq: 2 }].map((value) => Buffer.from(encode(value)));
  const answer = await post('a/b', Buffer.concat([...parts, Buffer.from([0x61])]), type);
  expect(answer).toMatchObject({
    status: 202,
    body: {
      accepted: 2,
      rejected: 1,
      errors: [{ line: 3, reason: 'malformed', detail: expect.any(String) }],
    },
  });
  const records = await served.harness.records();
  expect(records.map(({ payload }) => Buffer.from(payload))).toEqual(parts);
  expect(records[0]!.contentType).toBe('application/cbor');
});

test('a non-ASCII NDJSON batch keeps its lines apart', async () => {
  const lines = ['{"é":1}', '{"seq":2,"t":"日本"}', '3'];
  const answer = await post('a', lines.join('\n'), { 'content-type': 'application/jsonl' });
  expect(answer.body).toMatchObject({ accepted: 3 });
  expect((await stored()).map(([, payload]) => payload)).toEqual(lines);
});

test('Idempotency-Key: the same request is stored once, line by line', async () => {
  const key = { 'idempotency-key': '"8e03978e-40d5-43dd-bc93-6894a57f9324"' };
  expect((await post('a/d/x', '1', key)).body).toEqual({ offset: 0 });
  expect((await post('a/d/x', '1', key)).body).toEqual({ offset: 0, duplicate: true });
  const lines = { 'content-type': 'application/x-ndjson', 'idempotency-key': 'batch-7' };
  expect((await post('a/d/x', '1\n1\n', lines)).body).toMatchObject({ accepted: 2 });
  expect((await post('a/d/x', '1\n1\n1\n', lines)).body).toMatchObject({ accepted: 1, duplicates: 2 });
  for (const bad of ['', ' ', 'a b', 'x'.repeat(129)])
    expect((await post('a/d/x', '1', { 'idempotency-key': bad })).status).toBe(400);
});

test('other methods are 405, and say which are served', async () => {
  const response = await fetch(`${served.base}/api/v1/ingest/a`, { method: 'PUT', body: '1' });
  expect(response.status).toBe(405);
  expect(response.headers.get('allow')).toBe('POST');
  expect((await fetch(`${served.base}/api/v1/ingest`)).status).toBe(404);
});

test('a client that goes on sending a refused body is cut off once, not once for each chunk', async () => {
  await again({ http: { maxDrainBytes: 0 } });
  let chunks = 0;
  let listeners = 0;
  served.server.on('request', (request) => {
    request.on('data', () => {
      chunks += 1;
      listeners = Math.max(listeners, request.socket.listenerCount('finish'));
    });
  });
  const socket = connect(Number(new URL(served.base).port), '127.0.0.1');
  socket.on('error', () => {});
  socket.write('POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n\r\n');
  socket.write(Buffer.alloc(16 * 1024 * 1024));
  await new Promise((resolve) => socket.once('close', resolve));
  expect(chunks).toBeGreaterThan(0);
  expect(listeners).toBeLessThanOrEqual(1);
});
