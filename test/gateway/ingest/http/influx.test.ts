// InfluxDB's clients: their own JavaScript client, and the requests that Telegraf's outputs make.
import { gzipSync } from 'node:zlib';
import { HttpError, InfluxDB, Point } from '@influxdata/influxdb-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { numericFields } from '../../../../gateway/codecs/fields.ts';
import { TopicTemplates } from '../../../../gateway/codecs/template.ts';
import { type ServedIngest, serveIngest } from './served.ts';

let served: ServedIngest;

beforeEach(async () => {
  served = await serveIngest({ names: true });
});
afterEach(() => served.close());

const write = async (path: string, body: string | Uint8Array, headers: Record<string, string> = {}) => {
  const sent = typeof body === 'string' ? body : new Uint8Array(body);
  const response = await fetch(`${served.base}${path}`, { method: 'POST', body: sent, headers });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) };
};
const stored = async () =>
  (await served.harness.records()).map(({ topic, device, eventMs, contentType, payload }) => ({
    topic,
    device,
    eventMs,
    contentType,
    line: Buffer.from(payload).toString(),
  }));

test('the JavaScript client writes, gzipped, and hears why a line is refused', async () => {
  const api = new InfluxDB({ url: served.base }).getWriteApi('org', 'plant', 'ms', {
    gzipThreshold: 1,
    maxRetries: 0,
    writeFailed: () => Promise.resolve(),
  });
  api.writePoint(new Point('cpu').tag('host', 'gw 1').floatField('usage', 1.5).timestamp(1_763_600_000_123));
  await api.flush();
  expect(await stored()).toEqual([
    {
      topic: 'plant/gw 1/cpu',
      device: 'gw 1',
      eventMs: 1_763_600_000_123,
      contentType: 'text/vnd.influx.line-protocol; precision=ms',
      line: 'cpu,host=gw\\ 1 usage=1.5 1763600000123',
    },
  ]);
  const errors: unknown[] = [];
  const failing = new InfluxDB({ url: served.base }).getWriteApi('org', 'plant', 'ns', {
    maxRetries: 0,
    writeFailed: (error) => {
      errors.push(error);
      return Promise.resolve();
    },
  });
  failing.writeRecord('cpu,host=gw usage=');
  await failing.close().catch(() => {});
  await api.close();
  expect(errors[0]).toBeInstanceOf(HttpError);
  expect(errors[0]).toMatchObject({
    statusCode: 400,
    json: { message: expect.stringContaining('missing field value') },
  });
});

test('as Telegraf’s outputs.influxdb does: ping, create the database, write', async () => {
  expect((await fetch(`${served.base}/ping`)).status).toBe(204);
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  const created = await write('/query', 'q=CREATE+DATABASE+%22telegraf%22', form);
  expect(created).toMatchObject({ status: 200, body: { results: [{ statement_id: 0 }] } });
  const body =
    'cpu,cpu=cpu0,host=gw-1 usage_idle=98.5 1763600000000000000\nmem,host=gw-1 free=5i 1763600000000000000\n';
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'content-encoding': 'gzip' };
  const answer = await write('/write?db=telegraf&rp=autogen&consistency=any', gzipSync(body), headers);
  expect(answer).toMatchObject({ status: 204, body: null });
  expect(answer.headers.get('x-influxdb-version')).toBeTruthy();
  expect((await stored()).map(({ topic, eventMs, line }) => [topic, eventMs, line])).toEqual([
    ['telegraf/gw-1/cpu', 1_763_600_000_000, body.split('\n')[0]],
    ['telegraf/gw-1/mem', 1_763_600_000_000, body.split('\n')[1]],
  ]);
  expect((await write('/query', 'q=SELECT+1', form)).status).toBe(400);
  expect((await fetch(`${served.base}/query?q=SHOW+DATABASES`)).status).toBe(400);
});

test('health follows whether records are taken', async () => {
  const ask = async () => {
    const response = await fetch(`${served.base}/health`);
    return [response.status, ((await response.json()) as { status: string }).status];
  };
  expect(await ask()).toEqual([200, 'pass']);
  served.ready = false;
  expect(await ask()).toEqual([503, 'fail']);
});

test('good lines are stored although others are refused; each is named', async () => {
  const answer = await write(
    '/api/v2/write?bucket=b&org=o&precision=s',
    'a v=1 1\n# no\nb v=\n\nc v=2 x\nd v=3 4',
  );
  expect(answer).toMatchObject({
    status: 400,
    body: {
      code: 'malformed',
      message: "partial write: unable to parse 'b v=': missing field value dropped=2",
      error: "partial write: unable to parse 'b v=': missing field value dropped=2",
      accepted: 2,
      errors: [
        { line: 3, reason: 'malformed' },
        { line: 5, reason: 'malformed', detail: "unable to parse 'c v=2 x': bad timestamp" },
      ],
    },
  });
  expect((await stored()).map(({ line, eventMs }) => [line, eventMs])).toEqual([
    ['a v=1 1', 1_000],
    ['d v=3 4', 4_000],
  ]);
});

test.each([
  ['/api/v2/write', 'a v=1', 400],
  ['/api/v2/write?bucket=b&precision=d', 'a v=1', 400],
  ['/write?db=b', Buffer.from([0x61, 0x20, 0xff]), 400],
  ['/write?db=b&precision=s', 'a v=1 9223372036854775807', 400],
  ['/write?db=b', '', 204],
  ['/write?db=b', '# nothing\n\n', 204],
  ['/write?db=b&precision=h', 'a v=1 490000', 204],
  ['/write?db=$b&precision=%C2%B5', 'a,host=x/+y v=1 1763600000000000', 204],
])('%s %j is %i', async (path, body, status) => {
  expect((await write(path, body)).status).toBe(status);
});

test('levels hold what may stand in a topic', async () => {
  await write('/write?db=$b/c', 'm#1,host=x/+y v=1\nn v=2');
  expect((await stored()).map(({ topic }) => topic)).toEqual(['_b_c/x__y/m_1', '_b_c/_/n']);
});

test('a full disk is 503 with Retry-After, so that clients send again', async () => {
  await write('/write?db=b', 'a v=1');
  served.harness.disk.full = true;
  const answer = await write('/write?db=b', 'a v=2\na v=3');
  expect(answer).toMatchObject({ status: 503, body: { code: 'disk-full', rejected: 2 } });
  expect(answer.headers.get('retry-after')).toBe('5');
  // Telegraf throws away what is answered so.
  expect(answer.body.error).not.toContain('partial write');
});

test('what is to be sent again is 429 to version 2, and 503 to version 1, whose clients drop what is answered 4xx', async () => {
  await served.close();
  served = await serveIngest({ harness: { ingest: { rate: { device: { perSecond: 1, burst: 1 } } } } });
  expect((await write('/write?db=b', 'a,host=h v=1')).status).toBe(204);
  expect(await write('/write?db=b', 'a,host=h v=2')).toMatchObject({
    status: 503,
    body: { code: 'rate-limited' },
  });
  expect(await write('/api/v2/write?bucket=b', 'a,host=h v=2')).toMatchObject({
    status: 429,
    body: { code: 'rate-limited' },
  });
});

test('as Telegraf’s outputs.influxdb_v2 does without a token: gzip, chunked, an empty scheme', async () => {
  const lines = 'mem,host=gw-1 free=5i 1763600000000000000\n'.repeat(3);
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new Uint8Array(gzipSync(lines)));
      controller.close();
    },
  });
  const response = await fetch(`${served.base}/api/v2/write?bucket=telegraf&org=o`, {
    method: 'POST',
    body,
    duplex: 'half',
    headers: {
      authorization: 'Token ',
      'content-encoding': 'gzip',
      'content-type': 'text/plain; charset=utf-8',
      'user-agent': 'Telegraf/1.36.0 Go/1.25.1',
    },
  } as RequestInit);
  expect(response.status).toBe(204);
  expect(await stored()).toHaveLength(3);
});

/** plugins/outputs/http/http.go: its content type is the same whatever the serializer, and batches are its default. */
const OUTPUTS_HTTP = {
  'user-agent': 'Telegraf/1.36.0 Go/1.25.1',
  'content-type': 'text/plain; charset=utf-8',
};

test.each([
  ['as it stands', (body: string) => body, {}],
  ['content_encoding = "gzip"', (body: string) => gzipSync(body), { 'content-encoding': 'gzip' }],
])('as Telegraf’s outputs.http does with data_format influx, %s', async (_, encode, more) => {
  const body =
    'cpu,cpu=cpu-total,host=gw-1 usage_idle=98.5,usage_user=1i 1763600000000000000\nmem,host=gw-1 free=5i 1763600000000000000\n';
  for (const path of ['/api/v2/write?bucket=telegraf', '/write?db=telegraf'])
    expect((await write(path, encode(body), { ...OUTPUTS_HTTP, ...more })).status).toBe(204);
  expect((await stored()).map(({ topic, line }) => [topic, line])).toEqual(
    ['', ''].flatMap(() => [
      ['telegraf/gw-1/cpu', body.split('\n')[0]],
      ['telegraf/gw-1/mem', body.split('\n')[1]],
    ]),
  );
});

test('as Telegraf’s outputs.http does with data_format json: a batch is one record, its numbers are fields', async () => {
  const metrics = [
    { fields: { usage_idle: 98.5 }, name: 'cpu', tags: { host: 'gw-1' }, timestamp: 1_763_600_000 },
    { fields: { free: 5 }, name: 'mem', tags: { host: 'gw-1' }, timestamp: 1_763_600_000 },
  ];
  const body = `${JSON.stringify({ metrics })}\n`;
  const path = '/api/v1/ingest/telegraf/gw-1/batch';
  expect((await write(path, body, OUTPUTS_HTTP)).status).toBe(202);
  const gzip = { ...OUTPUTS_HTTP, 'content-encoding': 'gzip' };
  expect((await write(path, gzipSync(body), gzip)).status).toBe(202);
  const records = await served.harness.records();
  expect(records.map(({ payload }) => Buffer.from(payload).toString())).toEqual([body, body]);
  expect(records[0]).toMatchObject({ topic: 'telegraf/gw-1/batch', device: 'gw-1' });
  expect(numericFields(records[0]!, new TopicTemplates(served.harness.config.templates))).toContainEqual([
    'batch.metrics.0.fields.usage_idle',
    98.5,
  ]);
});

test('names: Token, Basic, and the query of version 1; a device writes what is its own', async () => {
  const token = await served.administration!.add({ name: 'gw-1', role: 'device', secret: 'token' }, 'test');
  const user = await served.administration!.add({ name: 'gw-2', role: 'device', secret: 'password' }, 'test');
  const as = (authorization: string) => ({ authorization });
  const own = 'cpu,host=gw-1 v=1';
  expect((await write('/api/v2/write?bucket=t', own, as(`Token ${token.secret}`))).status).toBe(204);
  expect((await write('/api/v2/write?bucket=t', 'cpu v=2', as(`Bearer ${token.secret}`))).status).toBe(204);
  expect((await write(`/write?db=t&u=gw-2&p=${user.secret}`, 'cpu,host=gw-2 v=3')).status).toBe(204);
  expect((await write('/write?db=t', 'cpu v=4', as(`Token gw-2:${user.secret}`))).status).toBe(204);
  const basic = `Basic ${Buffer.from(`gw-2:${user.secret}`).toString('base64')}`;
  expect((await write('/write?db=t', 'cpu v=5', as(basic))).status).toBe(204);
  const foreign = await write('/write?db=t', 'cpu,host=gw-1 v=6\ncpu v=7', as(basic));
  expect(foreign).toMatchObject({ status: 403, body: { code: 'not-allowed', accepted: 1, rejected: 1 } });
  const wrong = await write('/write?db=t', own, as('Token wrong'));
  expect(wrong).toMatchObject({
    status: 401,
    body: { code: 'bad-credentials', message: expect.any(String) },
  });
  expect(wrong.headers.get('www-authenticate')).toContain('Basic');
  expect((await stored()).map(({ device, line }) => [device, line.at(-1)])).toEqual([
    ['gw-1', '1'],
    ['gw-1', '2'],
    ['gw-2', '3'],
    ['gw-2', '4'],
    ['gw-2', '5'],
    ['gw-2', '7'],
  ]);
});

test('ThingsBoard’s devices: the token in the path says who they are', async () => {
  const { secret } = await served.administration!.add(
    { name: 'tb-1', role: 'device', secret: 'token' },
    'test',
  );
  const json = { 'content-type': 'application/json' };
  const send = (token: string, body: string) => write(`/api/v1/${token}/telemetry`, body, json);
  expect(await send(secret!, '{"temperature":21.5}')).toMatchObject({ status: 200, body: null });
  const many = '[{"ts":1763600000000,"values":{"t":1}}, {"ts":1763600001000,"values":{"t":2}}]';
  expect((await send(secret!, many)).status).toBe(200);
  expect((await stored()).map(({ topic, device, line }) => [topic, device, line])).toEqual([
    ['devices/tb-1/telemetry', 'tb-1', '{"temperature":21.5}'],
    ['devices/tb-1/telemetry', 'tb-1', '{"ts":1763600000000,"values":{"t":1}}'],
    ['devices/tb-1/telemetry', 'tb-1', '{"ts":1763600001000,"values":{"t":2}}'],
  ]);
  expect((await stored())[1]!.eventMs).toBe(1_763_600_000_000);
  expect(await send('wrong', '{}')).toMatchObject({ status: 401, body: { code: 'bad-credentials' } });
  for (const bad of ['', '1', '{', '"x"']) expect((await send(secret!, bad)).status).toBe(400);
  const operator = await served.administration!.add(
    { name: 'op', role: 'operator', secret: 'token' },
    'test',
  );
  expect(await send(operator.secret!, '{}')).toMatchObject({ status: 403, body: { code: 'not-allowed' } });
});

test('a device’s records are its own, whatever they say; other topics are 403', async () => {
  const { secret } = await served.administration!.add(
    { name: 'p-1', role: 'device', secret: 'token' },
    'test',
  );
  const headers = { authorization: `Bearer ${secret}`, 'tidemark-device': 'p-2' };
  expect((await write('/api/v1/ingest/plant/p-1/v', '1', headers)).status).toBe(202);
  expect((await stored())[0]!.device).toBe('p-1');
  const foreign = await write('/api/v1/ingest/plant/p-2/v', '1', headers);
  expect(foreign).toMatchObject({ status: 403, body: { code: 'not-allowed' } });
  const wrong = await write('/api/v1/ingest/plant/p-1/v', '1', { authorization: 'Bearer nothing' });
  expect(wrong.status).toBe(401);
  expect(wrong.headers.get('content-type')).toBe('application/problem+json');
  expect(served.harness.admission.figures().rejected['not-allowed']).toBe(1);
  expect(served.door.refused['bad-credentials']).toBe(1);
});
