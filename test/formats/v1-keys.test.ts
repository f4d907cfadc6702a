// The frozen key indexes of format 1: today's code believes them, answers queries by them alone, and finds them right.
import { chmodSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { realFs } from '../../gateway/log/fs.ts';
import { hasKeyIndex } from '../../gateway/log/key-index-build.ts';
import { isSoundKeyIndex, KeyIndex } from '../../gateway/log/key-index-file.ts';
import { openReader } from '../../gateway/log/reader.ts';
import { recordToJson } from '../../ledger/format/record.ts';
import { fsck } from '../../ledger/fsck/fsck.ts';

interface Listed {
  readonly offset: number;
  readonly device: string;
  readonly topic: string;
}

const listing = readFileSync(join(import.meta.dirname, 'v1.records.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Listed);
const frozen = join(import.meta.dirname, 'v1-keys');
const names = readdirSync(frozen).sort();
const folder = mkdtempSync(join(tmpdir(), 'tidemark-v1-keys-'));
const dataDir = join(folder, 'v1');
const log = join(dataDir, 'log');
beforeAll(() => {
  cpSync(join(import.meta.dirname, 'v1'), dataDir, { recursive: true });
  chmodSync(join(dataDir, 'gateway.key'), 0o600);
  cpSync(frozen, log, { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('they are taken for what they are, and fsck finds nothing wrong with them', async () => {
  expect(names).toHaveLength(2);
  for (const name of names) {
    const base = Number(name.slice(0, 20));
    expect(await hasKeyIndex(realFs, log, base)).toBe(true);
    expect(await isSoundKeyIndex(realFs, join(log, name))).toBe(true);
    const fd = await realFs.open(join(log, name.replace('.keys', '.log')), 'read');
    const index = await KeyIndex.load(realFs, join(log, name), base, fd, () => {});
    expect(index?.summary).toMatchObject({ baseOffset: base, isComplete: true, withoutKeys: false });
    index?.forget();
    await realFs.close(fd);
  }
  expect((await fsck(dataDir, { deep: true })).findings).toEqual([]);
});

test('every device and topic is found by them', async () => {
  const reader = await openReader({ dataDir });
  const pairs = new Map(listing.map(({ device, topic }) => [`${device} ${topic}`, { device, topic }]));
  expect(pairs.size).toBeGreaterThan(5);
  for (const pair of pairs.values()) {
    const { records, complete } = await reader.query({ ...pair, limit: listing.length });
    expect(complete).toBe(true);
    const wanted = listing.filter(({ device, topic }) => device === pair.device && topic === pair.topic);
    expect(JSON.parse(JSON.stringify(records.map(recordToJson)))).toEqual(wanted);
  }
  await reader.close();
});
