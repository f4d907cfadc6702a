// What the sealer and the cosigner remember between starts: what is not what they wrote counts as nothing.
import { expect, test } from 'vitest';
import { decodeMemory, encodeMemory, NO_MEMORY } from '../../../ledger/cosign/memory.ts';
import { LossAccount } from '../../../ledger/seal/losses.ts';

const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
const TOTALS = { refused: { 'too-large': 3 }, dropped: { late: 2 } };
const SAID = { bootId: 'boot', ...TOTALS };

test('losses that were said before a restart of the stage are not said again', () => {
  const account = new LossAccount('boot', null, 0);
  expect(account.take(TOTALS, 5)).toMatchObject(TOTALS);
  expect(new LossAccount('boot', account.state, 6).take(TOTALS, 7)).toBeNull();
  const more = { ...TOTALS, refused: { 'too-large': 5 } };
  expect(new LossAccount('boot', account.state, 6).take(more, 7)).toMatchObject({
    refused: { 'too-large': 2 },
  });
});

test.each([
  null,
  [],
  {},
  { ...SAID, bootId: 'another' },
  { ...SAID, refused: { 'too-large': -3 } },
  { ...SAID, refused: { 'too-large': 'many' } },
  { ...SAID, refused: [3] },
  { ...SAID, dropped: null },
])('losses stored as %j count as nothing said', (stored) => {
  expect(new LossAccount('boot', bytes(stored), 0).take(TOTALS, 1)).toMatchObject(TOTALS);
});

const MEMORY = { authorities: { 'a+01': { size: 7, line: '— a 0000' } }, final: 'note' };

test('what is remembered of authorities is read again', () => {
  expect(decodeMemory(encodeMemory(MEMORY))).toEqual(MEMORY);
  expect(decodeMemory(encodeMemory(NO_MEMORY))).toEqual(NO_MEMORY);
  expect(decodeMemory(null)).toEqual(NO_MEMORY);
});

test.each([
  null,
  [],
  {},
  { ...MEMORY, version: 2 },
  { ...MEMORY, version: 1, final: 5 },
  { version: 1, authorities: MEMORY.authorities },
  { ...MEMORY, version: 1, authorities: [] },
  { ...MEMORY, version: 1, authorities: { a: null } },
  { ...MEMORY, version: 1, authorities: { a: { size: -1, line: '' } } },
  { ...MEMORY, version: 1, authorities: { a: { size: 1 } } },
])('a memory of authorities stored as %j is as good as none', (stored) => {
  expect(decodeMemory(bytes(stored))).toEqual(NO_MEMORY);
});
