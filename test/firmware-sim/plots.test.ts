// The plots: well-formed, and honest where nothing is known.
import { describe, expect, test } from 'vitest';
import { plotSvg } from '../../firmware-sim/plots.ts';

const plot = (points: readonly (readonly [number, number | null])[], marks = 0) =>
  plotSvg({
    title: 'a <b>',
    unit: 'ms',
    series: [{ name: 'one', points }],
    marks: Array.from({ length: marks }, (_, x) => ({ x, label: `mark "${x}"` })),
  });
const pathOf = (svg: string) => /<path [^>]*d="([^"]*)"/.exec(svg)![1]!;
const timesOf = (svg: string) => [...svg.matchAll(/>([\d.]+ (?:s|min|h))</g)].map(([, text]) => text);

describe('a line', () => {
  test('is broken where nothing is known, and begins again', () => {
    const path = pathOf(
      plot([
        [0, 1],
        [1, 2],
        [2, null],
        [3, 3],
        [4, 1],
      ]),
    );
    expect(path.match(/[ML]/g)).toEqual(['M', 'L', 'M', 'L']);
    expect(path).not.toContain('NaN');
  });

  test('of many points keeps the greatest of each place, and its gaps', () => {
    const points = Array.from(
      { length: 6_000 },
      (_, x) => [x, x >= 3_000 && x < 3_500 ? null : x === 77 ? 900 : 1] as const,
    );
    const path = pathOf(plot(points));
    expect(path.match(/M/g)).toHaveLength(2);
    expect(path.match(/[ML]/g)!.length).toBeLessThanOrEqual(600);
    // Its top is at the scale's 1,000: the one great value is drawn at nine tenths.
    expect(path).toContain(' 45.0');
  });
});

test.each([
  [60, ['0 s', '10 s', '20 s', '30 s', '40 s', '50 s', '60 s']],
  [1_200, ['0 min', '5 min', '10 min', '15 min', '20 min']],
  [86_400, ['0 h', '4 h', '8 h', '12 h', '16 h', '20 h', '24 h']],
])('%d s: the time axis has steps that people read', (seconds, texts) => {
  expect(
    timesOf(
      plot([
        [0, 1],
        [seconds, 1],
      ]),
    ),
  ).toEqual(texts);
});

test('names are text, never markup; few marks are lines, many are ticks above the plot', () => {
  const few = plot(
    [
      [0, 1],
      [9, 1],
    ],
    3,
  );
  expect(few).toContain('a &lt;b&gt;, ms');
  expect(few).toContain('mark &quot;2&quot;');
  expect(few.match(/class="mark line"/g)).toHaveLength(3);
  expect(
    plot(
      [
        [0, 1],
        [99, 1],
      ],
      90,
    ).match(/class="mark" [^>]*y1="23" y2="30"/g),
  ).toHaveLength(90);
});
