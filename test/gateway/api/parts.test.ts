// Small parts of the API that need no server: numbers in queries, the gate, the rate's past.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Gate } from '../../../gateway/api/gate.ts';
import { isProblem, limitIn, offsetIn, wholeNumber } from '../../../gateway/api/query.ts';
import { RateKeeper } from '../../../gateway/api/rate.ts';

describe('numbers in paths and queries', () => {
  test('every safe whole number is read back exactly', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        expect(wholeNumber(String(value))).toBe(value);
      }),
      { numRuns: 200 },
    );
  });

  test.each([
    '',
    '-1',
    '+1',
    '01',
    '1.0',
    '1e3',
    '0x10',
    ' 1',
    '1 ',
    'NaN',
    '9007199254740992',
    '99999999999999999999',
    '١',
    null,
    ['1', '2'],
  ])('%s is not one', (text) => {
    expect(wholeNumber(text)).toBeNull();
    expect(isProblem(offsetIn(text))).toBe(true);
  });

  test('a limit stays within its bounds', () => {
    expect(limitIn({}, 50, 200)).toBe(50);
    expect(limitIn({}, 50, 20)).toBe(20);
    expect(limitIn({ limit: '200' }, 50, 200)).toBe(200);
    for (const limit of ['0', '201', 'all', ['1', '2']])
      expect(isProblem(limitIn({ limit }, 50, 200))).toBe(true);
  });
});

describe('the gate', () => {
  test('answers full instead of queueing, and opens again, also after a failure', async () => {
    const gate = new Gate(1);
    const finish = Promise.withResolvers<string>();
    const first = gate.run(() => finish.promise);
    expect(await gate.run(async () => 'second')).toBe('full');
    expect(gate.refused).toBe(1);
    finish.resolve('first');
    expect(await first).toBe('first');
    await expect(gate.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await gate.run(async () => 'third')).toBe('third');
  });
});

test('the rate keeps five minutes, oldest first', () => {
  const rate = new RateKeeper(1000);
  for (let second = 0; second < 400; second++) rate.push(second * 1000, second);
  const { endMs, stepMs, recordsPerSecond } = rate.history;
  expect({ endMs, stepMs, length: recordsPerSecond.length }).toEqual({
    endMs: 399_000,
    stepMs: 1000,
    length: 300,
  });
  expect(recordsPerSecond[0]).toBe(100);
  expect(recordsPerSecond.at(-1)).toBe(399);
});
