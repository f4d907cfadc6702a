// The OpenAPI document against the server it describes: every route is in it, and what routes really answer has the shape
// that it says.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Administration } from '../../../gateway/access/administration.ts';
import { accessConfigSchema } from '../../../gateway/access/config.ts';
import { AccessControl } from '../../../gateway/access/control.ts';
import { AccessStore } from '../../../gateway/access/store.ts';
import { OPERATIONS } from '../../../gateway/api/openapi/operations.ts';
import { httpIngestConfigSchema } from '../../../gateway/ingest/http/config.ts';
import { HttpIngest } from '../../../gateway/ingest/http/ingest.ts';
import { Harness } from '../admission/harness.ts';
import { anomaly, reading, startTestGateway, type TestGateway, windowResult } from './gateway.ts';

interface Described {
  readonly responses: Record<string, { content?: Record<string, { schema: object }> }>;
}
interface Document {
  readonly paths: Record<string, Record<string, Described>>;
  readonly components: { readonly schemas: Record<string, object> };
}

let harness: Harness;
let gateway: TestGateway;
let store: AccessStore;
let access: AccessControl;
let token: string;
let document: Document;
const ajv = new Ajv2020({ strict: false });

beforeAll(async () => {
  harness = await Harness.open();
  const { admission, config, lines, dataDir } = harness;
  const accessConfig = accessConfigSchema.parse({});
  store = new AccessStore(dataDir);
  access = new AccessControl({ config: accessConfig, store });
  const administration = new Administration({
    store,
    access,
    record: async () => {},
    config: () => accessConfig,
  });
  token = administration.firstToken()!;
  gateway = await startTestGateway({
    seal: true,
    before: [
      reading('pump-1', { value: 1 }, { sequence: 1 }),
      anomaly('pump-1', 4, 0),
      windowResult('pump-1'),
    ],
    access,
    admin: { administration, apply: async () => ({ applied: ['logLevel'], restart: [] }) },
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
  gateway.devices = [
    { device: 'pump-1', topics: ['plant/pump-1/vibration'], records: 1, lastMs: 1, lastOffset: 0, source: 1 },
  ] as unknown as TestGateway['devices'];
  document = (await (await fetch(`${gateway.url}/api/v1/openapi.json`)).json()) as Document;
  ajv.addSchema({ $id: 'doc', components: document.components });
});

afterAll(async () => {
  await gateway.close();
  access.close();
  store.close();
  await harness.remove();
});

test('the document is valid OpenAPI 3.1', async () => {
  const result = await new Validator().validate({ ...document });
  expect(result).toEqual({ valid: true });
});

test('every route is described, and every described route is there', () => {
  const inDocument = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replaceAll(/\{[^}]+\}/g, '{}')}`),
  );
  const described = Object.keys(OPERATIONS)
    .map((key) => key.replaceAll(/:[A-Za-z]+|\*/g, '{}'))
    // The dashboard is not built in this test.
    .filter((key) => key !== 'GET /{}');
  expect(inDocument.sort()).toEqual(described.sort());
});

test('docs/protocols.md names every path of the API', () => {
  const docs = readFileSync(join(import.meta.dirname, '../../../docs/protocols.md'), 'utf8');
  const paths = Object.keys(document.paths).filter((path) => !path.includes('/admin/') && path !== '/');
  const missing = paths.filter((path) => !docs.includes(path.split('{', 1)[0]!.replace(/\/$/, '')));
  expect(missing).toEqual([]);
});

const json = { 'content-type': 'application/json' };
const lines = { 'content-type': 'application/x-ndjson' };

/** What is asked, and the path in the document that it is an example of. */
const EXAMPLES: readonly [
  method: string,
  url: string,
  path: string,
  body?: string,
  headers?: Record<string, string>,
][] = [
  ['POST', '/api/v1/ingest/plant/p/x', '/api/v1/ingest/{topic}', '1', json],
  ['POST', '/api/v1/ingest/plant/p/x', '/api/v1/ingest/{topic}', '{"seq":1}\n{', lines],
  ['POST', '/api/v1/ingest/plant/p/x', '/api/v1/ingest/{topic}', '{', json],
  ['POST', '/api/v1/ingest/plant/p/x', '/api/v1/ingest/{topic}', '{', lines],
  ['POST', '/api/v1/ingest/a', '/api/v1/ingest/{topic}', '1', { 'content-encoding': 'br' }],
  ['POST', '/api/v1/ingest/a', '/api/v1/ingest/{topic}', '1'.repeat(600_000)],
  ['POST', '/api/v1/ingest/a', '/api/v1/ingest/{topic}', '1', { authorization: 'Bearer wrong' }],
  ['POST', '/api/v1/ingest/a?batch=array', '/api/v1/ingest/{topic}', '[1,2]', json],
  ['POST', '/api/v1/wrong/telemetry', '/api/v1/{token}/telemetry', '{}', json],
  ['POST', '/api/v2/write?bucket=b', '/api/v2/write', 'm v=1'],
  ['POST', '/api/v2/write?bucket=b', '/api/v2/write', 'm v=1\nm v='],
  ['POST', '/write', '/write', 'm v=1'],
  ['POST', '/write?db=d&u=x&p=y', '/write', 'm v=1'],
  ['GET', '/ping', '/ping'],
  ['GET', '/health', '/health'],
  ['GET', '/query?q=CREATE%20DATABASE%20x', '/query'],
  ['POST', '/query', '/query', 'q=x'],
  ['GET', '/api/v1/status', '/api/v1/status'],
  ['GET', '/api/v1/records/0', '/api/v1/records/{offset}'],
  ['GET', '/api/v1/records/999', '/api/v1/records/{offset}'],
  ['GET', '/api/v1/records/x', '/api/v1/records/{offset}'],
  ['GET', '/api/v1/records?limit=2', '/api/v1/records'],
  ['GET', '/api/v1/records/0/proof', '/api/v1/records/{offset}/proof'],
  ['GET', '/api/v1/records/999/proof', '/api/v1/records/{offset}/proof'],
  ['GET', '/api/v1/records/0/provenance', '/api/v1/records/{offset}/provenance'],
  ['GET', '/api/v1/records/999/provenance', '/api/v1/records/{offset}/provenance'],
  ['GET', '/api/v1/provenance?from_ms=0&to_ms=9000000000000', '/api/v1/provenance'],
  ['GET', '/api/v1/provenance', '/api/v1/provenance'],
  ['GET', '/api/v1/blocks', '/api/v1/blocks'],
  ['GET', '/api/v1/blocks/99/devices/x', '/api/v1/blocks/{height}/devices/{device}'],
  ['GET', '/api/v1/leaves?from=0&end=9', '/api/v1/leaves'],
  ['GET', '/api/v1/leaves?from=9&end=0', '/api/v1/leaves'],
  ['GET', '/api/v1/timestamps?limit=2&before=9', '/api/v1/timestamps'],
  ['GET', '/api/v1/timestamps?before=x', '/api/v1/timestamps'],
  ['GET', '/api/v1/critical', '/api/v1/critical'],
  ['GET', '/api/v1/devices', '/api/v1/devices'],
  ['GET', '/api/v1/devices?sort=x', '/api/v1/devices'],
  ['GET', '/api/v1/anomalies', '/api/v1/anomalies'],
  ['GET', '/api/v1/windows', '/api/v1/windows'],
  ['GET', '/api/v1/openapi.json', '/api/v1/openapi.json'],
  ['GET', '/ledger/tile/x', '/ledger/{path}'],
  ['GET', '/healthz', '/healthz'],
  ['GET', '/readyz', '/readyz'],
  ['GET', '/metrics', '/metrics'],
  ['GET', '/', '/'],
  ['GET', '/api/v1/admin/principals', '/api/v1/admin/principals'],
  ['POST', '/api/v1/admin/add', '/api/v1/admin/add', '{"name":"d-1"}', json],
  ['POST', '/api/v1/admin/add', '/api/v1/admin/add', '{"name":5}', json],
  ['POST', '/api/v1/admin/rotate', '/api/v1/admin/rotate', '{"name":"d-1"}', json],
  ['POST', '/api/v1/admin/revoke', '/api/v1/admin/revoke', '{"name":"d-1"}', json],
  ['POST', '/api/v1/admin/apply', '/api/v1/admin/apply', '{}', json],
];

test.each(EXAMPLES)('%s %s answers as described', async (method, url, path, body, headers = {}) => {
  const admin: Record<string, string> = url.startsWith('/api/v1/admin/')
    ? { authorization: `Bearer ${token}` }
    : {};
  const ask = () =>
    fetch(`${gateway.url}${url}`, {
      method,
      headers: { ...admin, ...headers },
      ...(body === undefined ? {} : { body }),
    });
  let response = await ask();
  // Sealing takes a moment.
  while (response.status === 409 && url.includes('/proof')) response = await ask();
  const operation = document.paths[path]![method.toLowerCase()]!;
  const text = await response.text();
  if (path === '/' && response.status === 503) return; // says how to build the dashboard
  const described = operation.responses[response.status];
  expect(described, `${response.status}: ${text.slice(0, 300)}`).toBeDefined();
  const type = response.headers.get('content-type')?.split(';', 1)[0];
  if (described!.content === undefined) {
    expect(text).toBe('');
    return;
  }
  const schema = described!.content[type ?? '']?.schema;
  expect(schema, `${type} is not described for ${response.status}`).toBeDefined();
  const value: unknown = type?.includes('json') ? JSON.parse(text) : text;
  const absolute = JSON.parse(JSON.stringify(schema).replaceAll('#/components', 'doc#/components')) as object;
  const validate = ajv.compile(absolute);
  expect(validate(value) || validate.errors).toBe(true);
});
