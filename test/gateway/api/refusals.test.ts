// Callers the port refuses, over the real server with real ingest on it: HTTP and WebSocket share one guard, and
// each refusal is counted once, wherever it came in.
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { httpIngestConfigSchema } from '../../../gateway/ingest/http/config.ts';
import { HttpIngest } from '../../../gateway/ingest/http/ingest.ts';
import { attachWebSocket, type WebSocketIngest } from '../../../gateway/ingest/websocket/attach.ts';
import { webSocketConfigSchema } from '../../../gateway/ingest/websocket/config.ts';
import { Harness } from '../admission/harness.ts';
import { startTestGateway, type TestGateway } from './gateway.ts';

let harness: Harness;
let gateway: TestGateway;
let webSocket: WebSocketIngest;

beforeAll(async () => {
  harness = await Harness.open();
  const { admission, config, lines } = harness;
  gateway = await startTestGateway({
    ingest: (door) =>
      new HttpIngest({
        admission,
        config,
        http: httpIngestConfigSchema.parse({}),
        door,
        logger: lines,
        isReady: () => true,
      }),
  });
  webSocket = attachWebSocket(gateway.server, {
    path: '/ws',
    admission,
    config: webSocketConfigSchema.parse({}),
    door: gateway.door,
    logger: lines,
  });
});

afterAll(async () => {
  await webSocket.close();
  await gateway.close();
  await harness.remove();
});

/** fetch does not let a test choose Host and Origin. */
async function ask(method: string, path: string, headers: Record<string, string>) {
  const request = httpRequest(`${gateway.url}${path}`, { method, headers, agent: false });
  request.end(method === 'POST' ? '1' : undefined);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const { statusCode: status, headers: answered } = response;
  return { status, type: answered['content-type'], body: await text(response) };
}

const codeIn = ({ body }: { body: string }) => (JSON.parse(body) as { code: string }).code;
const EVIL = { origin: 'http://evil.example' };
const REBOUND = { host: 'evil.example', origin: 'http://evil.example' };

test('ingest, reads and upgrades of strangers are refused with one code each, and stored nowhere', async () => {
  const json = { 'content-type': 'application/json' };
  const post = await ask('POST', '/api/v1/ingest/plant/p/x', { ...EVIL, ...json });
  expect(post).toMatchObject({ status: 403, type: expect.stringContaining('application/problem+json') });
  expect(codeIn(post)).toBe('origin-not-allowed');
  expect(codeIn(await ask('POST', '/api/v1/ingest/plant/p/x', { ...REBOUND, ...json }))).toBe(
    'host-not-allowed',
  );
  expect(codeIn(await ask('GET', '/api/v1/status', EVIL))).toBe('origin-not-allowed');
  const upgrade = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`, { headers: EVIL });
  await expect(once(upgrade, 'open')).rejects.toThrow('403');
  expect(await harness.records()).toEqual([]);

  expect(gateway.guard.refused).toEqual({
    'loopback-only': 0,
    'host-not-allowed': 1,
    'origin-not-allowed': 3,
  });
  const status = (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as {
    rejected: Record<string, number>;
  };
  expect(status.rejected['not-allowed']).toBe(4);
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  for (const line of [
    'tidemark_http_callers_refused_total{code="origin-not-allowed"} 3',
    'tidemark_http_callers_refused_total{code="host-not-allowed"} 1',
    'tidemark_http_callers_refused_total{code="loopback-only"} 0',
    'tidemark_ingest_refused_by_reason_total{reason="not-allowed"} 4',
  ]) {
    expect(metrics).toContain(`${line}\n`);
  }
});

test('programs, and pages the gateway served, come in by the same doors', async () => {
  const json = { 'content-type': 'application/json' };
  expect((await ask('POST', '/api/v1/ingest/plant/p/x', json)).status).toBe(202);
  expect((await ask('POST', '/api/v1/ingest/plant/p/x', { ...json, origin: gateway.url })).status).toBe(202);
  const upgrade = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`, { origin: gateway.url });
  await once(upgrade, 'open');
  expect(await harness.records()).toHaveLength(2);
});

test('ingest that fails inside is answered 500 and logged by its route, not its path', async () => {
  const { admission } = harness;
  const { submit } = admission;
  admission.submit = () => {
    throw new Error('as the test wants it');
  };
  const answer = await ask('POST', '/api/v1/ingest/plant/secret-name/x', { 'content-type': 'text/plain' });
  admission.submit = submit;
  expect(answer).toMatchObject({ status: 500, type: expect.stringContaining('application/problem+json') });
  expect(codeIn(answer)).toBe('internal');
  expect(answer.body).not.toContain('as the test wants it');
  expect(harness.lines.all.filter(({ level }) => level === 'error')).toEqual([
    expect.objectContaining({
      level: 'error',
      facts: expect.objectContaining({ route: '/api/v1/ingest/*', err: expect.any(Error) }),
    }),
  ]);
});
