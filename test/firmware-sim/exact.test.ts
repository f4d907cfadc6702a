// The simulator's own elementary functions: as good as the engine's to the digits that matter, and the same bits everywhere.
import { hash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cos, exp, log, power, sin } from '../../firmware-sim/exact.ts';
import { Random } from '../../firmware-sim/random.ts';

const FOLDER = join(import.meta.dirname, '../../firmware-sim');
const random = new Random('exact');
const drawn = (low: number, high: number) =>
  Array.from({ length: 20_000 }, () => random.between(low, high)).concat(low, high, 0, 1);
const worst = (xs: readonly number[], ours: (x: number) => number, engines: (x: number) => number) =>
  Math.max(...xs.map((x) => Math.abs(ours(x) - engines(x)) / Math.max(1e-3, Math.abs(engines(x)))));

test('they agree with the engine to fifteen digits', () => {
  expect(worst(drawn(-50, 50), exp, Math.exp)).toBeLessThan(1e-15);
  expect(
    worst(
      [...drawn(1e-12, 3), 5e-324 * 2 ** 60, 1e300, 2, 0.5].filter((x) => x > 0),
      log,
      Math.log,
    ),
  ).toBeLessThan(1e-15);
  expect(worst(drawn(-1000, 1000), sin, Math.sin)).toBeLessThan(1e-12);
  expect(worst(drawn(-1000, 1000), cos, Math.cos)).toBeLessThan(1e-12);
  expect(worst(drawn(-7, 7), sin, Math.sin)).toBeLessThan(1e-13);
  expect(
    worst(
      drawn(0, 40),
      (x) => power(x, 1.3),
      (x) => x ** 1.3,
    ),
  ).toBeLessThan(1e-14);
  expect([exp(0), log(1), sin(0), cos(0), power(0, 1.3), power(1, 9)]).toEqual([1, 0, 0, 1, 0, 1]);
  expect(() => sin(1e9)).toThrow(RangeError);
});

test('their bits are pinned: they hold on every version of Node and every processor', () => {
  const values = drawn(-20, 20).flatMap((x) => [exp(x), log(Math.abs(x) + 1e-9), sin(x), cos(x)]);
  expect(hash('sha256', Buffer.from(Float64Array.from(values).buffer), 'hex')).toMatchInlineSnapshot(
    `"1eac35d4a3e0b8019864b36a8a97d72c413dfe086c746ffecf25d6d7322ab485"`,
  );
});

test('nothing that makes bytes asks the engine for such a function', () => {
  const makers = [
    ...readdirSync(join(FOLDER, 'kinds')).map((name) => join('kinds', name)),
    ...[
      'device.ts',
      'exact.ts',
      'faults.ts',
      'firmware.ts',
      'machine.ts',
      'payload.ts',
      'random.ts',
      'scenario.ts',
      'timeline.ts',
    ],
  ];
  const found = makers.filter((name) =>
    /Math\.(?!abs|floor|ceil|round|min|max|sqrt|imul|PI|LOG2E|SQRT2)\w+|(?<![/*])\*\*(?![/*])/.test(
      readFileSync(join(FOLDER, name), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, ''),
    ),
  );
  expect(found).toEqual([]);
});
