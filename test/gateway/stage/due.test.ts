import { expect, test } from 'vitest';
import { isDue } from '../../../gateway/stage/due.ts';

test('due after its time, and at once where the clock was set back', () => {
  expect(isDue(1_000, 500, 501)).toBe(false);
  expect(isDue(1_001, 500, 501)).toBe(true);
  // Forty days forth and back again.
  expect(isDue(1_000, 1_000 + 40 * 86_400_000, 1_000)).toBe(true);
});
