import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Administration } from '../../../gateway/access/administration.ts';
import { accessConfigSchema } from '../../../gateway/access/config.ts';
import { AccessControl } from '../../../gateway/access/control.ts';
import { AccessStore } from '../../../gateway/access/store.ts';
import { backup } from '../../../gateway/backup/backup.ts';
import { restore } from '../../../gateway/backup/restore.ts';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';
import { reading } from '../api/gateway.ts';

test('names and hashes are in a backup, the first admin token is not; restored, they count again', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-backup-access-'));
  const dataDir = join(folder, 'data');
  const restored = join(folder, 'restored');
  const config = accessConfigSchema.parse({});
  const log = await openLog({ dataDir, config: logConfigSchema.parse({}) });
  await log.appendAll([reading('pump-1', { value: 1 })]);
  const store = new AccessStore(dataDir);
  const admin = new Administration({ store, config: () => config, record: async () => {} });
  const { secret } = await admin.add({ name: 'pump-1' }, 'test');
  writeFileSync(join(dataDir, 'admin-token'), 'tm_secret\n');
  // Sessions of WebSocket clients: the copied log may be older.
  for (const end of ['', '-wal', '-shm']) writeFileSync(join(dataDir, `websocket.db${end}`), 'x');

  // While the gateway has it open.
  await backup({ dataDir, target: join(folder, 'backup'), nowMs: Date.now() });
  store.close();
  await log.close();
  await restore({ source: join(folder, 'backup'), dataDir: restored });
  expect(statSync(join(restored, 'access.db')).mode & 0o777).toBe(0o600);
  expect(existsSync(join(restored, 'admin-token'))).toBe(false);
  expect(readdirSync(restored).filter((name) => name.startsWith('websocket'))).toEqual([]);
  const again = new AccessStore(restored);
  const verdict = await new AccessControl({ config, store: again }).authenticate({
    address: '192.0.2.1',
    username: 'pump-1',
    password: Buffer.from(secret!),
  });
  expect(verdict.principal?.name).toBe('pump-1');
  again.close();
  rmSync(folder, { recursive: true, force: true });
});
