// What access.db gives when somebody, or a disk, has changed a row: never a right. fsck names the row.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, test } from 'vitest';
import { AccessStore } from '../../../gateway/access/store.ts';
import { checkAccess } from '../../../ledger/fsck/accesscheck.ts';
import { Findings } from '../../../ledger/fsck/findings.ts';
import { fsck } from '../../../ledger/fsck/fsck.ts';
import { databaseClasses } from '../../fault/byte-classes.ts';
import { World } from './world.ts';

let world: World;
afterEach(() => world.close());

/** Past the store, as a flipped bit would. */
function change(sql: string): void {
  world.store.close();
  const db = new Database(join(world.folder, 'access.db'));
  expect(db.prepare(sql).run().changes).toBe(1);
  db.close();
}

const found = async () => (await fsck(world.folder)).findings.filter(({ file }) => file === 'access.db');

describe('a row that is not what was written counts for nothing', () => {
  test.each([
    ["UPDATE principals SET role = 'admin' WHERE name = 'pump-1'", 'pump-1'],
    ["UPDATE principals SET publish = NULL WHERE name = 'pump-1'", 'pump-1'],
    ["UPDATE principals SET device = NULL WHERE name = 'pump-1'", 'pump-1'],
    ["UPDATE principals SET name = 'pump-9' WHERE name = 'gone'", 'pump-9'],
    ["UPDATE principals SET revoked_ms = NULL WHERE name = 'gone'", 'gone'],
    ["UPDATE secrets SET expires_ms = 9000000000000000 WHERE name = 'pump-1'", null],
    ["UPDATE secrets SET created_ms = 0 WHERE name = 'pump-1'", null],
    ["UPDATE secrets SET salt = x'00' WHERE name = 'pump-1'", null],
    ["UPDATE secrets SET cost = 2 WHERE name = 'pump-1'", null],
  ])('%s', async (sql, name) => {
    world = new World();
    const { secret } = await world.admin.add({ name: 'pump-1', publish: ['plant/pump-1/#'] }, 'test');
    const ops = await world.admin.add({ name: 'ops', role: 'operator', secret: 'token' }, 'test');
    await world.admin.add({ name: 'gone' }, 'test');
    await world.admin.revoke({ name: 'gone' }, 'test');
    expect(await found()).toEqual([]);
    change(sql);
    const complaints: string[] = [];
    world.reopen((what) => complaints.push(what));
    const isOfPump = sql.includes("'pump-1'");
    expect(await world.code({ username: 'pump-1', secret: secret! })).toBe(
      isOfPump ? 'bad-credentials' : 'let in as pump-1',
    );
    // The others are what they were.
    expect(await world.code({ token: ops.secret! })).toBe('let in as ops');
    world.admin.list();
    world.admin.list();
    expect(complaints).toHaveLength(1);
    const [finding, ...more] = await found();
    expect(more).toEqual([]);
    expect(finding).toMatchObject({ code: 'ACCESS_DAMAGED', severity: 'error' });
    if (name !== null) expect(finding!.message).toContain(name);
    expect(JSON.stringify(finding)).not.toContain(secret);
  });
});

test('a database from before there were checksums gets them at the next start', async () => {
  world = new World();
  const { secret } = await world.admin.add({ name: 'pump-1' }, 'test');
  world.store.close();
  const file = join(world.folder, 'access.db');
  const db = new Database(file);
  for (const table of ['principals', 'secrets', 'facts']) db.exec(`ALTER TABLE ${table} DROP COLUMN sum`);
  db.pragma('user_version = 1');
  db.close();
  expect(await found()).toEqual([]);
  new AccessStore(world.folder).close();
  expect(await found()).toEqual([]);
  world.reopen();
  expect(await world.code({ username: 'pump-1', secret: secret! })).toBe('let in as pump-1');
});

test('one flipped bit in any class of byte of the file is found and named', async () => {
  world = new World();
  world.admin.firstToken();
  await world.admin.add({ name: 'pump-1', publish: ['plant/pump-1/#'] }, 'test');
  await world.admin.add({ name: 'ops', role: 'operator', secret: 'token' }, 'test');
  const file = join(world.folder, 'access.db');
  const sound = readFileSync(file);
  const damage = () => {
    const findings = new Findings();
    checkAccess(world.folder, findings);
    return findings.list.map((finding) => `${finding.code} ${finding.file}`);
  };
  expect(damage()).toEqual([]);
  const classes = databaseClasses(sound);
  expect(classes.length).toBeGreaterThan(50);
  for (const { at, name } of classes) {
    const bytes = Buffer.from(sound);
    bytes[at]! ^= 1 << (at % 8);
    writeFileSync(file, bytes);
    expect(damage(), `${name} at ${at}`).toContain('ACCESS_DAMAGED access.db');
  }
  writeFileSync(file, sound);
});
