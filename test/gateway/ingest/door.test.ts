// Who comes in over HTTP: what a request shows, what Access says to it, and which pages may call.
import type { IncomingMessage } from 'node:http';
import { expect, test } from 'vitest';
import { ANONYMOUS, anonymousAccess } from '../../../gateway/access/anonymous.ts';
import type { Access, Credentials, Principal } from '../../../gateway/access/types.ts';
import { CallerGuard } from '../../../gateway/ingest/caller.ts';
import { credentialsOf } from '../../../gateway/ingest/credentials.ts';
import { Door } from '../../../gateway/ingest/door.ts';

const guard = () => new CallerGuard({ host: '127.0.0.1', allowedHosts: [] });

function request(headers: Record<string, string>, remoteAddress = '127.0.0.1'): IncomingMessage {
  return {
    headers: { host: 'localhost', ...headers },
    socket: { remoteAddress },
  } as unknown as IncomingMessage;
}

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

test.each([
  ['Bearer abc', { token: 'abc' }],
  ['bearer  abc ', { token: 'abc' }],
  ['Token abc', { token: 'abc' }],
  ['Token u:p:q', { username: 'u', password: 'p:q' }],
  [basic('u:p:q'), { username: 'u', password: 'p:q' }],
  [basic('ü:'), { username: 'ü', password: '' }],
  [basic('no colon'), null],
  ['Digest x', null],
  ['Token', {}],
  ['Bearer', {}],
  ['Basic', null],
  [`Bearer ${'x'.repeat(9_000)}`, null],
])('Authorization: %s', (authorization, expected) => {
  const shown = credentialsOf(request({ authorization }), { token: 'from the path' });
  if (expected === null || shown === null) expect(shown).toBe(expected);
  else {
    const { password, ...rest } = shown;
    const text = password === undefined ? {} : { password: Buffer.from(password).toString() };
    expect({ ...rest, ...text }).toEqual({ address: '127.0.0.1', ...expected });
  }
});

test('without the header, what the path or query shows counts', () => {
  expect(credentialsOf(request({}), { token: 't' })).toEqual({ address: '127.0.0.1', token: 't' });
  expect(credentialsOf(request({}))).toEqual({ address: '127.0.0.1' });
});

test('anonymous callers come in from this machine only, and not from another page', async () => {
  const door = new Door(anonymousAccess, guard());
  expect(await door.judge(request({}))).toEqual({ principal: ANONYMOUS, problem: null });
  expect((await door.judge(request({}, '10.0.0.7'))).problem).toMatchObject({
    status: 401,
    code: 'loopback-only',
  });
  expect((await door.judge(request({ origin: 'http://evil.example' }))).problem).toMatchObject({
    status: 403,
    code: 'origin-not-allowed',
  });
  expect((await door.judge(request({ host: 'evil.example' }))).problem).toMatchObject({
    status: 403,
    code: 'host-not-allowed',
  });
  expect((await door.judge(request({ authorization: 'Digest x' }))).problem).toMatchObject({
    status: 401,
    code: 'bad-credentials',
  });
  expect(door.refused).toEqual({
    'loopback-only': 1,
    'bad-credentials': 1,
    'too-many-attempts': 0,
    'origin-not-allowed': 1,
    'host-not-allowed': 1,
  });
});

test('who has shown a token may come from anywhere; a kept password does not let other pages in', async () => {
  const principal: Principal = { ...ANONYMOUS, name: 'p', role: 'device', anonymous: false };
  const access: Access = {
    authenticate: ({ token, username }: Credentials) =>
      token === 'good' || username === 'u'
        ? Promise.resolve({ principal })
        : { principal: null, code: 'too-many-attempts', detail: 'later', retryAfterMs: 1_000 },
    onChange: () => () => {},
  };
  const door = new Door(access, guard());
  const far = (headers: Record<string, string>) => request({ host: 'gw.example', ...headers }, '10.0.0.7');
  const origin = 'http://evil.example';
  expect(await door.judge(far({ authorization: 'Bearer good', origin }))).toEqual({
    principal,
    problem: null,
  });
  expect((await door.judge(far({ authorization: basic('u:p') }))).principal).toBe(principal);
  expect((await door.judge(far({ authorization: basic('u:p'), origin }))).problem?.code).toBe(
    'origin-not-allowed',
  );
  expect(
    (await door.judge(far({ authorization: basic('u:p'), origin: 'http://gw.example' }))).principal,
  ).toBe(principal);
  expect((await door.judge(far({ authorization: 'Bearer bad' }))).problem).toMatchObject({
    status: 429,
    retryAfterMs: 1_000,
  });
});
