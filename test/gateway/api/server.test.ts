// The reading API over real HTTP, on a real log with a real sealer.
import { mkdir, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { parseNote } from '../../../ledger/format/note.ts';
import { type RecordJson, SOURCE } from '../../../ledger/format/record.ts';
import { verifyProof } from '../../../ledger/verify/index.ts';
import { anomaly, ORIGIN, reading, startTestGateway, type TestGateway, windowResult } from './gateway.ts';

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly json: Record<string, unknown>;
}

let gateway: TestGateway;

async function get(path: string): Promise<Answer> {
  const response = await fetch(`${gateway.url}${path}`);
  const body = await response.text();
  const json = response.headers.get('content-type')?.includes('json')
    ? (JSON.parse(body) as Record<string, unknown>)
    : { body };
  return { status: response.status, headers: response.headers, json };
}

/** Asks again until `done` is true of the answer: for what happens in other threads. */
async function until(path: string, done: (answer: Answer) => boolean): Promise<Answer> {
  for (let left = 200; ; left--) {
    const answer = await get(path);
    if (done(answer) || left === 0) return answer;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Raw requests: fetch does not let a test choose Host and Origin. */
function raw(
  path: string,
  headers: Record<string, string>,
  method = 'GET',
): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
  const request = httpRequest(`${gateway.url}${path}`, { method, headers, agent: false }, (response) => {
    let body = '';
    response.setEncoding('utf8');
    response.on('data', (piece: string) => {
      body += piece;
    });
    response.on('end', () => resolve({ status: response.statusCode!, body }));
  });
  request.on('error', reject);
  request.end();
  return promise;
}

const payloadOf = (record: RecordJson) =>
  JSON.parse(Buffer.from(record.payload, 'base64').toString()) as Record<string, unknown>;

const FIRST_MS = Date.now() - 60_000;

beforeAll(async () => {
  gateway = await startTestGateway({
    seal: true,
    before: [
      ...Array.from({ length: 30 }, (_, i) =>
        reading(`pump-${i % 3}`, { value: i }, { sequence: i, eventMs: FIRST_MS + i * 1000 }),
      ),
      anomaly('pump-1', 5.5, 3),
      windowResult('pump-1'),
    ],
    plugins: [
      async (app) => {
        app.post('/api/v1/ingest/*', async () => ({ reached: true }));
      },
    ],
  });
});

afterAll(() => gateway.close());

describe('records', () => {
  test('one record comes back as it was stored', async () => {
    const { status, json, headers } = await get('/api/v1/records/7');
    const record = json.record as RecordJson;
    expect(status).toBe(200);
    expect(headers.get('cache-control')).toBe('no-store');
    expect(record).toMatchObject({
      offset: 7,
      device: 'pump-1',
      topic: 'plant/pump-1/vibration',
      sequence: 7,
      source: 1,
    });
    expect(payloadOf(record)).toEqual({ value: 7 });
  });

  test.each(['-1', '9007199254740992', '1e3', '0x7', '7.0', 'seven', '%37x', '99999999999999999999999'])(
    'the offset %s is refused as malformed',
    async (offset) => {
      for (const path of [
        `/api/v1/records/${offset}`,
        `/api/v1/records/${offset}/proof`,
        `/api/v1/records?from=${offset}`,
      ]) {
        const { status, json, headers } = await get(path);
        expect({ path, status, code: json.code }).toEqual({ path, status: 400, code: 'malformed' });
        expect(headers.get('content-type')).toContain('application/problem+json');
      }
    },
  );

  test('an offset past the end is not held, and says where the end is', async () => {
    for (const path of ['/api/v1/records/9007199254740991', '/api/v1/records/9007199254740991/proof']) {
      const { status, json } = await get(path);
      expect({ status, code: json.code, type: json.type }).toEqual({
        status: 404,
        code: 'not-held',
        type: 'about:blank',
      });
      expect(json.detail).toMatch(/the newest record is \d+/);
    }
  });

  test('a range is read in pieces that join up', async () => {
    const seen: number[] = [];
    let next = 0;
    for (;;) {
      const { json } = await get(`/api/v1/records?from=${next}&limit=7`);
      const records = json.records as RecordJson[];
      seen.push(...records.map((record) => record.offset));
      if (json.next === next) break;
      next = json.next as number;
    }
    expect(seen).toEqual(Array.from({ length: gateway.log.figures().end }, (_, i) => i));
  });

  test('device and topic choose records, and next passes those left out', async () => {
    const { json } = await get('/api/v1/records?device=pump-2&limit=3');
    expect((json.records as RecordJson[]).map((record) => record.offset)).toEqual([2, 5, 8]);
    expect(json.next).toBe(9);
    const topic = encodeURIComponent('$tidemark/anomalies/drift');
    const found = (await get(`/api/v1/records?topic=${topic}`)).json;
    expect((found.records as RecordJson[]).map((record) => record.offset)).toEqual([30]);
    expect(found.next).toBe(gateway.log.figures().end);
  });

  test('a device within a time', async () => {
    const [from, to] = [FIRST_MS + 4000, FIRST_MS + 13_000];
    const { json } = await get(`/api/v1/records?device=pump-1&from_ms=${from}&to_ms=${to}`);
    expect((json.records as RecordJson[]).map((record) => record.offset)).toEqual([4, 7, 10]);
    expect(json.next).toBe(gateway.log.figures().end);
    expect((await get('/api/v1/records?to_ms=-5')).json.records).toEqual([]);
  });

  test.each([
    'limit=0',
    'limit=1001',
    'limit=all',
    'limit=1&limit=2',
    'topic=a&topic=b',
    'from_ms=1.5',
    'to_ms=x',
  ])('%s is refused', async (query) => {
    expect((await get(`/api/v1/records?${query}`)).json).toMatchObject({ status: 400, code: 'malformed' });
  });
});

describe('proofs', () => {
  test('a proof verifies with the key the status names, and not once a byte is changed', async () => {
    const { json, headers } = await until('/api/v1/records/7/proof', ({ status }) => status === 200);
    expect(headers.get('content-disposition')).toContain('record-7.tidemark-proof.json');
    const { publicKey } = (await get('/api/v1/status')).json as { publicKey: string };
    const report = verifyProof(JSON.stringify(json), { gatewayKey: publicKey });
    expect(report).toMatchObject({ valid: true, status: 'signed-by-gateway-only', record: { offset: 7 } });
    const record = { ...(json.record as RecordJson), payload: Buffer.from('{"value":8}').toString('base64') };
    expect(verifyProof(JSON.stringify({ ...json, record }), { gatewayKey: publicKey }).status).toBe(
      'invalid',
    );
  });

  test('blocks are listed newest first and cover the log without gaps', async () => {
    const end = gateway.log.figures().end;
    const { json } = await until('/api/v1/blocks', ({ json: { blocks } }) => {
      const newest = (blocks as { first: number; count: number }[])[0];
      return newest !== undefined && newest.first + newest.count === end;
    });
    const blocks = json.blocks as {
      height: number;
      kind: string;
      first: number;
      count: number;
      hash: string;
    }[];
    expect(blocks.at(-1)).toMatchObject({ height: 0, kind: 'genesis', first: 0, count: 0 });
    blocks.slice(1).forEach((block, i) => {
      expect(block.height).toBe(blocks[i]!.height - 1);
      expect(blocks[i]!.first).toBe(block.first + block.count);
    });
    expect((await get('/api/v1/blocks?limit=1')).json.blocks).toEqual(blocks.slice(0, 1));
    expect((await get('/api/v1/blocks?limit=101')).status).toBe(400);
  });

  test('the ledger directory is served, and nothing else', async () => {
    const checkpoint = await until('/ledger/checkpoint', ({ status }) => status === 200);
    expect(checkpoint.headers.get('cache-control')).toBe('no-store');
    expect(checkpoint.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    const { origin, size } = parseCheckpoint(parseNote(checkpoint.json.body as string).text);
    expect(origin).toBe(ORIGIN);
    const tile = await get(`/ledger/tile/entries/000.p/${size}`);
    expect(tile.status).toBe(200);
    expect(tile.headers.get('content-type')).toBe('application/octet-stream');
    expect(tile.headers.get('cache-control')).toBe('public, max-age=60');
    for (const path of [
      'tile/0/001',
      'tile/0/000.p/256',
      'tile/../../gateway.key',
      '..%2fgateway.key',
      '%2e%2e/gateway.key',
      'tile/0/0',
      '',
    ]) {
      const { status, body } = await raw(`/ledger/${path}`, {});
      expect({ path, status }).toEqual({ path, status: 404 });
      expect(body).not.toContain('PRIVATE KEY');
    }
  });
});

describe('derived records', () => {
  test('those of an earlier run are found in the log, those appended now come first', async () => {
    const before = (await get('/api/v1/anomalies')).json.anomalies as RecordJson[];
    expect(before.map((record) => record.offset)).toEqual([30]);
    expect((await get('/api/v1/windows')).json.windows).toHaveLength(1);
    const first = await gateway.appendDerived([windowResult('pump-2'), anomaly('pump-2', 9.25, 5)]);
    const after = (await get('/api/v1/anomalies?limit=2')).json.anomalies as RecordJson[];
    expect(after.map((record) => record.offset)).toEqual([first + 1, 30]);
    expect(payloadOf(after[0]!)).toMatchObject({ score: 9.25 });
    const status = (await get('/api/v1/status')).json as { derived: object };
    expect(status.derived).toEqual({ anomalies: 1, windows: 1 });
  });
});

describe('figures', () => {
  test('status has the shape the protocol names', async () => {
    const { json } = await get('/api/v1/status');
    const { end } = gateway.log.figures();
    expect(json).toMatchObject({
      version: '0.0.0-test',
      origin: ORIGIN,
      log: { start: 0, end },
      ingest: { mqtt: { connections: 0, accepted: end, rejected: 0 } },
      rejected: { malformed: 0 },
      stages: { sealer: { running: true } },
      ledger: { final: true, problem: null },
    });
  });

  test('metrics are Prometheus text with the product prefix', async () => {
    const { headers, json } = await get('/metrics');
    const text = json.body as string;
    expect(headers.get('content-type')).toContain('text/plain');
    expect(text).toContain(`tidemark_log_end_offset ${gateway.log.figures().end}\n`);
    expect(text).toContain('tidemark_stage_running{stage="sealer"} 1\n');
    expect(text).toMatch(/^tidemark_log_sync_seconds_total [\d.]+$/m);
    expect(text).toMatch(/^tidemark_process_resident_memory_bytes \d+$/m);
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1]!);
    expect(names.filter((name) => !name.startsWith('tidemark_'))).toEqual([]);
    // Asked twice, a counter is shown, not added up.
    expect((await get('/metrics')).json.body).toContain(
      `tidemark_log_end_offset ${gateway.log.figures().end}\n`,
    );
  });

  test('devices are searched, sorted and cut', async () => {
    const device = (name: string, records: number, lastMs: number) => ({
      device: name,
      topics: [`plant/${name}/vibration`],
      records,
      lastMs,
      lastOffset: 1,
      source: SOURCE.mqtt,
    });
    gateway.devices = [device('b', 5, 10), device('a', 9, 30), device('c<img src=x>', 1, 20)];
    const names = async (query: string) => {
      const { json } = await get(`/api/v1/devices?${query}`);
      return [(json.devices as { device: string }[]).map((entry) => entry.device), json.total];
    };
    expect(await names('')).toEqual([['a', 'c<img src=x>', 'b'], 3]);
    expect(await names('sort=records&limit=1')).toEqual([['a'], 3]);
    expect(await names('sort=device')).toEqual([['a', 'b', 'c<img src=x>'], 3]);
    expect(await names('search=PLANT/B')).toEqual([['b'], 1]);
    for (const query of ['sort=__proto__', 'limit=0', 'search=a&search=b']) {
      expect((await get(`/api/v1/devices?${query}`)).status).toBe(400);
    }
  });

  test('alive and ready are two things', async () => {
    expect((await get('/readyz')).status).toBe(200);
    gateway.ready = false;
    expect((await get('/readyz')).status).toBe(503);
    expect((await get('/healthz')).status).toBe(200);
    gateway.ready = true;
  });
});

describe('who may ask', () => {
  test('a rebound name is refused on every route, plugins included', async () => {
    for (const path of [
      '/',
      '/api/v1/status',
      '/api/v1/tail',
      '/ledger/checkpoint',
      '/metrics',
      '/no/such',
    ]) {
      const { status, body } = await raw(path, { host: 'evil.example' });
      expect({ path, status, code: (JSON.parse(body) as { code: string }).code }).toEqual({
        path,
        status: 403,
        code: 'host-not-allowed',
      });
    }
    expect((await raw('/api/v1/ingest/a/b', { host: 'evil.example' }, 'POST')).status).toBe(403);
    expect((await get('/metrics')).json.body).toMatch(
      /^tidemark_http_callers_refused_total\{code="host-not-allowed"\} 7$/m,
    );
  });

  test('a page of another origin cannot post, a program can', async () => {
    expect((await raw('/api/v1/ingest/a/b', { origin: 'http://evil.example' }, 'POST')).status).toBe(403);
    expect((await raw('/api/v1/ingest/a/b', { origin: gateway.url }, 'POST')).status).toBe(200);
    expect((await raw('/api/v1/ingest/a/b', {}, 'POST')).status).toBe(200);
  });

  test('every answer carries the security headers and none invites other origins', async () => {
    for (const path of ['/', '/api/v1/status', '/no/such', '/ledger/tile/0/999']) {
      const { headers } = await get(path);
      expect(headers.get('content-security-policy')).toContain("script-src 'self'");
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('x-frame-options')).toBe('DENY');
      expect(headers.get('access-control-allow-origin')).toBeNull();
    }
  });

  test('unknown paths and a missing dashboard say what to do', async () => {
    expect((await get('/api/v1/nothing')).json).toMatchObject({ status: 404, code: 'not-found' });
    const page = await get('/');
    expect(page.status).toBe(503);
    expect(page.json.body).toContain('npm run build:dashboard');
  });
});

describe('a gateway that has just begun', () => {
  let empty: TestGateway;
  beforeAll(async () => {
    empty = await startTestGateway({
      http: { maxBodyBytes: 1024 },
      plugins: [
        async (app) => {
          app.post('/api/v1/ingest/*', async () => ({ reached: true }));
        },
      ],
    });
  });
  afterAll(() => empty.close());
  const ask = async (path: string, init?: RequestInit) => {
    const response = await fetch(`${empty.url}${path}`, init);
    return {
      status: response.status,
      headers: response.headers,
      json: (await response.json()) as Record<string, unknown>,
    };
  };

  test('has empty lists and no checkpoint', async () => {
    expect((await ask('/api/v1/records')).json).toEqual({ records: [], next: 0 });
    expect((await ask('/api/v1/blocks')).json).toEqual({ blocks: [] });
    expect((await ask('/api/v1/anomalies')).json).toEqual({ anomalies: [] });
    expect((await ask('/api/v1/status')).json.ledger).toEqual({
      blocks: 0,
      sealed: 0,
      checkpointSize: 0,
      checkpointMs: null,
      final: false,
      finalSize: 0,
      problem: null,
    });
    expect(await ask('/ledger/checkpoint')).toMatchObject({ status: 404, json: { code: 'not-found' } });
    expect((await ask('/api/v1/records/0')).json).toMatchObject({
      code: 'not-held',
      detail: 'The log holds no records yet.',
    });
  });

  test('a stored record that is not sealed yet says when to ask again', async () => {
    await empty.log.appendAll([reading('pump-1', { value: 1 })]);
    const { status, headers, json } = await ask('/api/v1/records/0/proof');
    expect({ status, code: json.code, after: headers.get('retry-after') }).toEqual({
      status: 409,
      code: 'not-sealed-yet',
      after: '1',
    });
  });

  test('a body past the limit is refused in the same shape', async () => {
    const { status, json } = await ask('/api/v1/ingest/a/b', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify('x'.repeat(2000)),
    });
    expect({ status, code: json.code }).toEqual({ status: 413, code: 'too-large' });
  });

  test('a damaged ledger is named and takes no other figure with it', async () => {
    await mkdir(join(empty.dataDir, 'ledger'), { recursive: true });
    await writeFile(join(empty.dataDir, 'ledger', 'checkpoint'), 'not a checkpoint\n');
    const { status, json } = await ask('/api/v1/status');
    expect(status).toBe(200);
    expect((json.ledger as { problem: string }).problem).toMatch(/^NOTE_INVALID: /);
    expect((json.log as { end: number }).end).toBe(1);
  });
});
