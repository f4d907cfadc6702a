import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatCsv, parseCsv } from '../../cli/csv.ts';

test('what was written is read again', () => {
  const cell = fc.string({ unit: fc.constantFrom('a', ' ', ',', '"', '\n', '\r', 'é') });
  const row = fc.array(cell, { minLength: 2, maxLength: 4 });
  fc.assert(
    fc.property(fc.array(row, { maxLength: 5 }), (rows) => {
      expect(parseCsv(formatCsv(rows), 'f').map(({ cells }) => cells)).toEqual(rows);
    }),
  );
});

test('lines are counted through quoted line ends; blank ones are left out', () => {
  expect(parseCsv('\ufeffa,b\r\n\r\n"x\ny",\nlast,', 'f')).toEqual([
    { line: 1, cells: ['a', 'b'] },
    { line: 3, cells: ['x\ny', ''] },
    { line: 5, cells: ['last', ''] },
  ]);
});

test('a stray quote is named by its line', () => {
  expect(() => parseCsv('a\nb"c\n', 'fleet.csv')).toThrow('fleet.csv:2:');
  expect(() => parseCsv('a\n"open\n', 'fleet.csv')).toThrow('fleet.csv:2:');
});
