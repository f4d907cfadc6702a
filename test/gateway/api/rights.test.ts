// Every route the server says it has, asked by every role: what the route table lets in, and nobody else. A route that is
// added and forgotten here fails.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Role } from '../../../gateway/access/types.ts';
import { httpIngestConfigSchema } from '../../../gateway/ingest/http/config.ts';
import { HttpIngest } from '../../../gateway/ingest/http/ingest.ts';
import { World } from '../access/world.ts';
import { Harness } from '../admission/harness.ts';
import { startTestGateway, type TestGateway } from './gateway.ts';

let harness: Harness;
let world: World;
let gateway: TestGateway;
let routes: readonly (readonly [method: string, path: string])[];
const tokens = new Map<Role, string>();

beforeAll(async () => {
  harness = await Harness.open();
  world = new World({ anonymous: 'off' });
  world.nowMs = Date.now();
  for (const role of ['device', 'operator', 'auditor', 'admin'] as const)
    tokens.set(role, (await world.admin.add({ name: `a-${role}`, role, secret: 'token' }, 'test')).secret!);
  const { admission, config, lines } = harness;
  gateway = await startTestGateway({
    access: world.access,
    admin: { administration: world.admin, apply: async () => ({ applied: [], restart: [] }) },
    ingest: (door) =>
      new HttpIngest({
        ...{ admission, config, door, logger: lines, isReady: () => true },
        http: httpIngestConfigSchema.parse({}),
      }),
  });
  const document = (await (await fetch(`${gateway.url}/api/v1/openapi.json`)).json()) as {
    paths: Record<string, object>;
  };
  routes = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => [method.toUpperCase(), path] as const),
  );
});

afterAll(async () => {
  await gateway?.close();
  world?.close();
  await harness?.remove();
});

/** Nothing is in them that anyone should not see. */
const PUBLIC = ['/healthz', '/readyz', '/api/v1/openapi.json', '/', '/{file}', '/ping', '/health'];

async function status(method: string, path: string, token?: string): Promise<number> {
  const filled = path.replace('{token}', 'tm_wrong').replaceAll(/\{[^}]*\}/g, '0');
  const stop = new AbortController();
  const response = await fetch(`${gateway.url}${filled}`, {
    method,
    signal: stop.signal,
    headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
    ...(method === 'POST' ? { body: '{}' } : {}),
  });
  stop.abort();
  return response.status;
}

test('without a name only what is public is answered', async () => {
  expect(routes.length).toBeGreaterThan(20);
  const answered: string[] = [];
  for (const [method, path] of routes) {
    const code = await status(method, path);
    if (code !== 401) answered.push(`${method} ${path}`);
  }
  expect(answered.filter((route) => !PUBLIC.includes(route.split(' ')[1]!))).toEqual([]);
});

test('each role gets as far as its rights', async () => {
  const mayRead = new Set<Role>(['operator', 'auditor', 'admin']);
  const wrong: string[] = [];
  for (const [method, path] of routes) {
    if (PUBLIC.includes(path) || !/^(GET|POST)$/.test(method)) continue;
    const isAdmin = path.startsWith('/api/v1/admin/');
    const isIngest = !isAdmin && method === 'POST';
    // These speak for the device their path or database names; their own tests judge them.
    if (isIngest || path.startsWith('/query')) continue;
    // Last: it ends the token.
    if (path.endsWith('/reset-admin')) continue;
    for (const [role, token] of tokens) {
      const allowed = isAdmin ? role === 'admin' : mayRead.has(role);
      const code = await status(method, path, token);
      if ((code !== 403) !== allowed) wrong.push(`${role} ${method} ${path}: ${code}`);
    }
  }
  expect(wrong).toEqual([]);
});
