// The forwarders' configuration: defaults, and what is refused.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { forwardersSchema } from '../../sync/config.ts';
import { loadCredentials } from '../../sync/credentials.ts';

const central = { name: 'central', type: 'mqtt', url: 'mqtts://central.example.com:8883' };

test('no forwarder by default; one needs only name, type and url', () => {
  expect(forwardersSchema.parse(undefined)).toEqual([]);
  expect(forwardersSchema.parse([central])[0]).toMatchObject({
    topics: ['#', '$tidemark/#'],
    topicPrefix: '',
    envelope: 'none',
    protocolVersion: 5,
    maxInFlight: 1000,
  });
});

test.each([
  ['a secret in the URL', { url: 'mqtt://user:secret@host:1883' }],
  ['a user in the URL', { url: 'mqtt://user@host:1883' }],
  ['another protocol', { url: 'http://host' }],
  ['no URL', { url: 'central' }],
  ['a name that is no name', { name: 'Central Broker' }],
  ['# inside a filter', { topics: ['a/#/b'] }],
  ['a wildcard inside a level', { topics: ['a/b+'] }],
  ['a wildcard in the prefix', { topicPrefix: 'a/+/' }],
  ['no topics', { topics: [] }],
  ['an unknown key', { qos: 2 }],
  ['a password in the file', { password: 'secret' }],
  ['two places for the password', { username: 'u', passwordEnv: 'A', passwordFile: '/b' }],
  ['a password without a user', { passwordEnv: 'A' }],
  ['retries that shrink', { retryFirstMs: 1000, retryMaxMs: 500 }],
])('refuses %s', (_, change) => {
  const result = forwardersSchema.safeParse([{ ...central, ...change }]);
  expect(result.success).toBe(false);
  expect(JSON.stringify(result.error?.issues)).not.toContain('secret@');
});

test('refuses two forwarders of one name', () => {
  expect(forwardersSchema.safeParse([central, central]).success).toBe(false);
});

test('secrets come from the environment or a file, at the moment they are asked for', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-secret-'));
  const file = join(directory, 'password');
  writeFileSync(file, 'first\n');
  expect(await loadCredentials({ username: 'u', passwordFile: file }, {})).toEqual({
    username: 'u',
    password: 'first',
  });
  writeFileSync(file, 'second');
  expect(await loadCredentials({ username: 'u', passwordFile: file }, {})).toEqual({
    username: 'u',
    password: 'second',
  });
  rmSync(directory, { recursive: true });
  expect(await loadCredentials({ username: 'u', passwordEnv: 'P' }, { P: 'x' })).toEqual({
    username: 'u',
    password: 'x',
  });
  await expect(loadCredentials({ username: 'u', passwordEnv: 'P' }, {})).rejects.toMatchObject({
    code: 'REFUSED',
  });
  await expect(loadCredentials({ caFile: file }, {})).rejects.toMatchObject({
    code: 'REFUSED',
    facts: { file },
  });
});
