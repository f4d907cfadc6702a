// When admission saves what it remembers: seldom where little happens, in time where a start would have to read back too much.
import { expect, test } from 'vitest';
import { ingestConfigSchema } from '../../../gateway/admission/config.ts';
import { isSnapshotDue } from '../../../gateway/admission/memory.ts';

const config = ingestConfigSchema.parse({});
const due = (records: number, elapsedMs: number) => isSnapshotDue(config, { records, elapsedMs });

test('nothing new: never', () => expect(due(0, 86_400_000)).toBe(false));

test('a few records: every five minutes', () => {
  expect(due(1, 299_999)).toBe(false);
  expect(due(99_999, 299_999)).toBe(false);
  expect(due(1, 300_000)).toBe(true);
});

test('many: every ten seconds', () => {
  expect(due(100_000, 9_999)).toBe(false);
  expect(due(100_000, 10_000)).toBe(true);
});

test('half of what a start reads back: at once', () => expect(due(500_000, 0)).toBe(true));

test('a start that reads nothing back: each time', () => {
  expect(isSnapshotDue({ ...config, maxReplayRecords: 0 }, { records: 1, elapsedMs: 0 })).toBe(true);
});
