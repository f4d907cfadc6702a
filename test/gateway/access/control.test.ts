import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.close());

const FINGERPRINT = 'ab'.repeat(32);
const shown = (commonName: string | null, more: object = {}) => ({
  certificate: { commonName, altNames: [], fingerprint: FINGERPRINT, ...more },
});

describe('without a name', () => {
  test('only this machine is let in, and may not administer', async () => {
    expect(await world.code({})).toBe('loopback-only');
    expect(await world.code({ address: undefined })).toBe('loopback-only');
    const principal = await world.principal({ address: '127.0.0.1' });
    expect(principal).toMatchObject({ anonymous: true, device: null });
    expect([principal.may('read'), principal.may('prove'), principal.may('administer')]).toEqual([
      true,
      true,
      false,
    ]);
  });

  test('nobody is once it is switched off, and open connections are told', async () => {
    world.access.configure({ ...world.config, anonymous: 'off' });
    expect(await world.code({ address: '::1' })).toBe('loopback-only');
    expect(world.told).toEqual(['']);
  });
});

describe('passwords', () => {
  test('the right one of the right name is let in, everything else is not', async () => {
    const { secret } = await world.admin.add({ name: 'pump-1' }, 'test');
    await world.admin.add({ name: 'pump-2', password: 'chosen-by-someone' }, 'test');
    const principal = await world.principal({ username: 'pump-1', secret: secret! });
    expect(principal).toMatchObject({ name: 'pump-1', role: 'device', device: 'pump-1', anonymous: false });
    expect(await world.code({ username: 'pump-2', secret: 'chosen-by-someone' })).toBe('let in as pump-2');
    for (const wrong of [
      { username: 'pump-2', secret: secret! },
      { username: 'pump-1', secret: `${secret!} ` },
      { username: 'pump-1', secret: '' },
      { username: '', secret: secret! },
      { username: 'pump-3', secret: secret! },
      { username: 'pump-1', secret: 'x'.repeat(5_000) },
      // Nobody comes in under a name without showing its secret, not even from this machine.
      { username: 'pump-1', address: '127.0.0.1' },
    ]) {
      expect(await world.code(wrong)).toBe('bad-credentials');
    }
  });

  test('one that is right is hashed once, also for many at the same time', async () => {
    const { secret } = await world.admin.add({ name: 'pump-1' }, 'test');
    const credentials = { username: 'pump-1', secret: secret! };
    await Promise.all(Array.from({ length: 50 }, () => world.principal(credentials)));
    await world.principal(credentials);
    expect(world.access.figures()).toMatchObject({ hashed: 1, waiting: 0 });
    world.nowMs += world.config.passwords.rememberMs;
    await world.principal(credentials);
    expect(world.access.figures().hashed).toBe(2);
  });

  test('too many waiting for their turn are told to come again', async () => {
    world.access.configure({
      ...world.config,
      passwords: { ...world.config.passwords, maxConcurrent: 1, maxWaiting: 2 },
    });
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, i) => world.ask({ username: `nobody-${i}`, secret: 'wrong' })),
    );
    const codes = answers.map((answer) => (answer.principal === null ? answer.code : 'in'));
    expect(codes.filter((code) => code === 'bad-credentials')).toHaveLength(3);
    expect(codes.filter((code) => code === 'too-many-attempts')).toHaveLength(3);
  });

  test('after ten wrong ones none is looked at from there under that name, the right one neither', async () => {
    const { secret } = await world.admin.add({ name: 'pump-1' }, 'test');
    const { secret: other } = await world.admin.add({ name: 'pump-2' }, 'test');
    for (let attempt = 0; attempt < 10; attempt += 1)
      expect(await world.code({ username: 'pump-1', secret: `wrong ${attempt}` })).toBe('bad-credentials');
    const blocked = await world.ask({ username: 'pump-1', secret: secret! });
    expect(blocked).toMatchObject({ code: 'too-many-attempts', retryAfterMs: expect.any(Number) });
    // Its neighbours, and the same device elsewhere, are not locked out with it.
    expect(await world.code({ username: 'pump-2', secret: other! })).toBe('let in as pump-2');
    expect(await world.code({ username: 'pump-1', secret: secret!, address: '192.0.2.2' })).toBe(
      'let in as pump-1',
    );
  });
});

describe('tokens', () => {
  test('come as bearer tokens, or as an MQTT password or user name', async () => {
    const { secret: token } = await world.admin.add(
      { name: 'ops', role: 'operator', secret: 'token' },
      'test',
    );
    const { secret: admin } = await world.admin.resetAdmin('test');
    expect(await world.code({ token: token! })).toBe('let in as ops');
    expect(await world.code({ username: 'whatever', secret: token! })).toBe('let in as ops');
    expect(await world.code({ username: token! })).toBe('let in as ops');
    expect((await world.principal({ token: admin! })).may('administer')).toBe(true);
    expect((await world.principal({ token: token! })).may('administer')).toBe(false);
    expect(await world.code({ token: `${token!.slice(0, -1)}${token!.endsWith('A') ? 'B' : 'A'}` })).toBe(
      'bad-credentials',
    );
    expect(await world.code({ token: '' })).toBe('bad-credentials');
    expect(await world.code({ token: 'eyJ.eyJ.x', address: '127.0.0.1' })).toBe('bad-credentials');
  });

  test('end when they are to end', async () => {
    const { secret: token, expiresMs } = await world.admin.add(
      { name: 'ops', role: 'operator', secret: 'token', expiresInMs: 10_000 },
      'test',
    );
    expect((await world.principal({ token: token! })).expiresMs).toBe(expiresMs);
    world.nowMs += 10_000;
    expect(await world.code({ token: token! })).toBe('bad-credentials');
  });

  test('are looked at however many wrong ones came before: nobody guesses them', async () => {
    const { secret: token } = await world.admin.add(
      { name: 'ops', role: 'operator', secret: 'token' },
      'test',
    );
    for (let attempt = 0; attempt < 200; attempt += 1) await world.ask({ token: 'tm_wrong' });
    expect(await world.code({ username: 'pump', secret: 'x' })).toBe('too-many-attempts');
    expect(await world.code({ token: token! })).toBe('let in as ops');
  });
});

describe('client certificates', () => {
  test('count for names that were added with one', async () => {
    await world.admin.add({ name: 'pump-1', secret: 'none', certificate: true }, 'test');
    await world.admin.add({ name: 'pump-2', secret: 'none', fingerprints: [FINGERPRINT] }, 'test');
    await world.admin.add({ name: 'pump-3', secret: 'none', fingerprints: ['cd'.repeat(32)] }, 'test');
    await world.admin.resetAdmin('test');
    expect((await world.principal(shown('pump-1'))).device).toBe('pump-1');
    expect(await world.code(shown('pump-2'))).toBe('let in as pump-2');
    expect(await world.code(shown('pump-3'))).toBe('bad-credentials');
    expect(await world.code(shown('pump-9', { altNames: ['other', 'pump-1'] }))).toBe('let in as pump-1');
    // Whoever runs the authority of the devices does not thereby become an admin.
    expect(await world.code(shown('admin'))).toBe('bad-credentials');
    expect(await world.code(shown('pump-9'))).toBe('bad-credentials');
  });

  test('of unknown names are devices where the configuration says so, until they are revoked', async () => {
    world.access.configure({ ...world.config, certificates: { name: 'cn', unknown: 'device' } });
    const principal = await world.principal(shown('new-1'));
    expect(principal).toMatchObject({ name: 'new-1', role: 'device', device: 'new-1' });
    expect(principal.mayPublish('plant/new-1/level')).toBe(true);
    expect(await world.code(shown('jwt:alice'))).toBe('bad-credentials');
    expect(await world.code(shown('a/b'))).toBe('bad-credentials');
    await world.admin.revoke({ name: 'new-1' }, 'test');
    expect(principal.mayPublish('plant/new-1/level')).toBe(false);
    expect(await world.code(shown('new-1'))).toBe('bad-credentials');
  });
});

describe('what one may', () => {
  test('a device keeps to topics with its name, and its own list replaces that', async () => {
    const { secret: one } = await world.admin.add({ name: 'pump-1' }, 'test');
    const { secret: two } = await world.admin.add(
      { name: 'pump-2', publish: ['out/%device%', 'all/#'], subscribe: [] },
      'test',
    );
    const first = await world.principal({ username: 'pump-1', secret: one! });
    const second = await world.principal({ username: 'pump-2', secret: two! });
    expect([
      first.mayPublish('plant/pump-1/level'),
      first.mayPublish('plant/pump-2/level'),
      first.maySubscribe('plant/pump-1/#'),
      first.maySubscribe('plant/+/level'),
      first.maySubscribe('#'),
      first.may('read'),
    ]).toEqual([true, false, true, false, false, false]);
    expect([
      second.mayPublish('out/pump-2'),
      second.mayPublish('all/of/them'),
      second.mayPublish('plant/pump-2/level'),
      second.maySubscribe('plant/pump-2/#'),
    ]).toEqual([true, true, false, false]);
  });

  test('a changed configuration counts for open connections, and only those who hear otherwise are told', async () => {
    const { secret } = await world.admin.add({ name: 'pump-1' }, 'test');
    await world.admin.add({ name: 'pump-2', publish: ['a'], subscribe: ['b'] }, 'test');
    const principal = await world.principal({ username: 'pump-1', secret: secret! });
    const { device, ...others } = world.config.roles;
    world.access.configure({
      ...world.config,
      roles: { ...others, device: { ...device, publish: ['only/%device%'] } },
    });
    expect([principal.mayPublish('plant/pump-1/level'), principal.mayPublish('only/pump-1')]).toEqual([
      false,
      true,
    ]);
    expect(world.told).toEqual([]);
    world.access.configure({
      ...world.config,
      roles: { ...others, device: { ...device, subscribe: ['x'] } },
    });
    expect(principal.maySubscribe('plant/pump-1/#')).toBe(false);
    expect(world.told).toEqual(['pump-1']);
  });
});

describe('administration', () => {
  test('revoking ends everything at once, and survives a restart', async () => {
    const { secret } = await world.admin.add({ name: 'pump-1' }, 'test');
    const credentials = { username: 'pump-1', secret: secret! };
    const principal = await world.principal(credentials);
    await world.admin.revoke({ name: 'pump-1' }, 'test');
    expect(world.told).toEqual(['pump-1']);
    expect([principal.mayPublish('plant/pump-1/x'), principal.maySubscribe('plant/pump-1/x')]).toEqual([
      false,
      false,
    ]);
    expect(await world.code(credentials)).toBe('bad-credentials');
    world.reopen();
    expect(await world.code(credentials)).toBe('bad-credentials');
    await expect(world.admin.rotate({ name: 'pump-1' }, 'test')).rejects.toMatchObject({ code: 'REVOKED' });
    const again = await world.admin.add({ name: 'pump-1' }, 'test');
    expect(await world.code(credentials)).toBe('bad-credentials');
    expect(await world.code({ username: 'pump-1', secret: again.secret! })).toBe('let in as pump-1');
  });

  test('a rotated secret overlaps with the old one; then connections made with the old one are told', async () => {
    const { secret: old } = await world.admin.add({ name: 'pump-1' }, 'test');
    await world.principal({ username: 'pump-1', secret: old! });
    const { secret: fresh } = await world.admin.rotate({ name: 'pump-1', overlapMs: 60_000 }, 'test');
    expect(await world.code({ username: 'pump-1', secret: old! })).toBe('let in as pump-1');
    expect(await world.code({ username: 'pump-1', secret: fresh! })).toBe('let in as pump-1');
    expect(world.told).toEqual([]);
    world.nowMs += 60_000;
    expect(await world.code({ username: 'pump-1', secret: old! })).toBe('bad-credentials');
    expect(await world.code({ username: 'pump-1', secret: fresh! })).toBe('let in as pump-1');
    await expect.poll(() => world.told, { timeout: 30_000 }).toEqual(['pump-1']);
    await world.admin.rotate({ name: 'pump-1', overlapMs: 0 }, 'test');
    expect(await world.code({ username: 'pump-1', secret: fresh! })).toBe('bad-credentials');
    expect(world.told).toEqual(['pump-1', 'pump-1']);
  });

  test('what cannot be recorded is not done', async () => {
    const { secret } = await world.admin.add({ name: 'pump-1' }, 'test');
    world.logError = new Error('no space');
    await expect(world.admin.add({ name: 'pump-2' }, 'test')).rejects.toThrow('no space');
    await expect(world.admin.revoke({ name: 'pump-1' }, 'test')).rejects.toThrow('no space');
    expect(world.admin.list().map(({ name }) => name)).toEqual(['pump-1']);
    expect(await world.code({ username: 'pump-1', secret: secret! })).toBe('let in as pump-1');
  });

  test('an import is all or none', async () => {
    await world.admin.add({ name: 'b' }, 'test');
    const entries = ['a', 'b', 'c'].map((name) => ({ name }));
    await expect(world.admin.import({ entries }, 'test')).rejects.toMatchObject({ code: 'NAME_TAKEN' });
    await expect(world.admin.import({ entries: [{ name: 'x' }, { name: 'x' }] }, 'test')).rejects.toThrow(
      'stands there twice',
    );
    expect(world.store.count()).toBe(1);
    const issued = await world.admin.import(
      { entries: [{ name: 'a' }, { name: 'c', secret: 'token' }] },
      'test',
    );
    expect(await world.code({ username: 'a', secret: issued[0]!.secret! })).toBe('let in as a');
    expect(await world.code({ token: issued[1]!.secret! })).toBe('let in as c');
    expect(world.acts.map(({ act, name }) => [act, name])).toEqual([
      ['principal-added', 'b'],
      ['principal-added', 'a'],
      ['principal-added', 'c'],
    ]);
  });

  test('bad requests are refused with the field', async () => {
    for (const [request, message] of [
      [{}, 'name:'],
      [{ name: 'a/b' }, 'none of / + #'],
      [{ name: 'jwt:alice' }, 'JSON Web Tokens'],
      [{ name: 'a', role: 'root' }, 'role:'],
      [{ name: 'a', publish: ['a/#/b'] }, 'publish.0:'],
      [{ name: 'a', password: 'short' }, 'password:'],
      [{ name: 'a', secret: 'none' }, 'secret:'],
      [{ name: 'a', more: 1 }, 'more'],
    ] as const) {
      await expect((async () => world.admin.add(request, 'test'))()).rejects.toThrow(message);
    }
    expect(world.acts).toEqual([]);
  });

  test('the first token is made once; a reset ends it', async () => {
    const first = world.admin.firstToken();
    expect((await world.principal({ token: first! })).role).toBe('admin');
    expect(world.admin.firstToken()).toBeNull();
    world.reopen();
    expect(world.admin.firstToken()).toBeNull();
    const { secret } = await world.admin.resetAdmin('local');
    expect(await world.code({ token: first! })).toBe('bad-credentials');
    expect(await world.code({ token: secret! })).toBe('let in as admin');
    expect(world.acts).toEqual([expect.objectContaining({ act: 'admin-token-reset', by: 'local' })]);
  });

  test('no secret is in the file, or in what is recorded', async () => {
    const secrets = [
      (await world.admin.add({ name: 'pump-1' }, 'test')).secret!,
      (await world.admin.add({ name: 'ops', role: 'operator', secret: 'token' }, 'test')).secret!,
      (await world.admin.rotate({ name: 'ops', secret: 'token' }, 'test')).secret!,
      world.admin.firstToken()!,
      'chosen-by-someone',
    ];
    await world.admin.add({ name: 'pump-2', password: 'chosen-by-someone' }, 'test');
    const file = join(world.folder, 'access.db');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const bytes = readFileSync(file);
    for (const secret of secrets) {
      expect(bytes.includes(secret)).toBe(false);
      expect(JSON.stringify(world.acts)).not.toContain(secret);
      expect(JSON.stringify(world.admin.list())).not.toContain(secret);
    }
  });
});
