// Tokens signed by real keys, checked by key sets from a file and from a real HTTP server.
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { accessConfigSchema } from '../../../gateway/access/config.ts';
import { World } from './world.ts';

const ISSUER = 'https://login.example.com/';
const AUDIENCE = 'tidemark';
const folder = mkdtempSync(join(tmpdir(), 'tidemark-jwks-'));
const file = join(folder, 'jwks.json');
let keys: Awaited<ReturnType<typeof generateKeyPair>>;
let others: Awaited<ReturnType<typeof generateKeyPair>>;
let server: Server;
let asked = 0;
const worlds: World[] = [];

beforeAll(async () => {
  keys = await generateKeyPair('ES256');
  others = await generateKeyPair('ES256');
  const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'k1', alg: 'ES256' }] });
  writeFileSync(file, jwks);
  server = createServer((_request, response) => {
    asked += 1;
    response.setHeader('content-type', 'application/json').end(jwks);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
});

afterAll(() => {
  for (const world of worlds) world.close();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

function worldWith(jwt: object): World {
  const world = new World({ jwt: [{ issuer: ISSUER, audience: AUDIENCE, ...jwt }] });
  world.nowMs = Date.now();
  worlds.push(world);
  return world;
}

interface Claims {
  readonly [claim: string]: unknown;
}

const token = (
  claims: Claims = {},
  { key = keys.privateKey, exp = '1h' }: { key?: typeof keys.privateKey; exp?: string | null } = {},
) => {
  const jwt = new SignJWT({
    sub: 'alice',
    roles: ['tidemark-operator'],
    iss: ISSUER,
    aud: AUDIENCE,
    ...claims,
  })
    .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
    .setIssuedAt();
  return (exp === null ? jwt : jwt.setExpirationTime(exp)).sign(key);
};

test('a token of the issuer names its holder and role, until it expires', async () => {
  const world = worldWith({ jwksFile: file });
  const principal = await world.principal({ token: await token() });
  expect(principal).toMatchObject({ name: 'jwt:alice', role: 'operator', device: null });
  expect(principal.expiresMs! - Date.now()).toBeGreaterThan(3_500_000);
  expect([principal.may('read'), principal.may('administer')]).toEqual([true, false]);
  const two = await token({ sub: 'bob', roles: 'tidemark-auditor tidemark-admin other' });
  expect((await world.principal({ token: two })).role).toBe('admin');
  // As an MQTT password too.
  expect(await world.code({ username: 'x', secret: await token() })).toBe('let in as jwt:alice');
});

test('every other token is refused', async () => {
  const world = worldWith({ jwksFile: file });
  const good = await token();
  const [head, body, signature] = good.split('.') as [string, string, string];
  const none = Buffer.from('{"alg":"none"}').toString('base64url');
  for (const [why, wrong] of [
    ['signed by another', await token({}, { key: others.privateKey })],
    ['another issuer', await token({ iss: 'https://evil.example/' })],
    ['another audience', await token({ aud: 'other' })],
    ['expired', await token({}, { exp: '-5m' })],
    ['without an end', await token({}, { exp: null })],
    ['not valid yet', await token({ nbf: Math.floor(Date.now() / 1000) + 3_600 })],
    ['without a role', await token({ roles: [] })],
    ['a role of nobody', await token({ roles: ['constructor', 'toString'] })],
    ['without a name', await token({ sub: undefined })],
    ['another body', `${head}.${Buffer.from('{"sub":"eve"}').toString('base64url')}.${signature}`],
    ['alg none', `${none}.${body}.`],
  ] as const) {
    expect([why, await world.code({ token: wrong })]).toEqual([why, 'bad-credentials']);
  }
});

test('a holder can be revoked, and cannot take a name that was added here', async () => {
  const world = worldWith({ jwksFile: file, roles: { device: 'device' }, nameClaim: 'device' });
  const claims = { roles: ['device'], device: 'pump-1' };
  const principal = await world.principal({ token: await token(claims) });
  expect(principal).toMatchObject({ name: 'jwt:pump-1', device: 'pump-1', role: 'device' });
  expect(principal.mayPublish('plant/pump-1/x')).toBe(true);
  await world.admin.revoke({ name: 'jwt:pump-1' }, 'test');
  expect(principal.mayPublish('plant/pump-1/x')).toBe(false);
  expect(await world.code({ token: await token(claims) })).toBe('bad-credentials');
});

test('a key set is fetched once, and a claim may lie deeper', async () => {
  const { port } = server.address() as AddressInfo;
  const world = worldWith({
    jwksUrl: `http://127.0.0.1:${port}/jwks`,
    roleClaim: 'realm_access.roles',
    roles: { reader: 'auditor' },
  });
  for (const sub of ['alice', 'bob', 'carol']) {
    const principal = await world.principal({
      token: await token({ sub, realm_access: { roles: ['reader'] } }),
    });
    expect(principal).toMatchObject({ name: `jwt:${sub}`, role: 'auditor' });
  }
  expect(asked).toBe(1);
});

test('a key set that is out of reach lets nobody in, and is no crash', async () => {
  const world = worldWith({ jwksUrl: 'http://127.0.0.1:9/jwks' });
  expect(await world.code({ token: await token() })).toBe('bad-credentials');
});

test('a configuration that could not be kept is refused', () => {
  const issuer = { issuer: ISSUER, audience: AUDIENCE };
  expect(accessConfigSchema.safeParse({ jwt: [issuer] }).success).toBe(false);
  expect(
    accessConfigSchema.safeParse({ jwt: [{ ...issuer, jwksUrl: 'http://keys.example.com/' }] }).success,
  ).toBe(false);
  expect(
    accessConfigSchema.safeParse({ jwt: [{ ...issuer, jwksUrl: 'https://keys.example.com/' }] }).success,
  ).toBe(true);
  expect(() => worldWith({ jwksFile: join(folder, 'none.json') })).toThrow('the key set');
});
