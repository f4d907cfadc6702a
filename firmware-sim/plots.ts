// Owns line plots as SVG text, for pages that are read without a script. Knows nothing of what is plotted.

export interface Series {
  readonly name: string;
  /** A y of null is a gap: nothing is known there. */
  readonly points: readonly (readonly [x: number, y: number | null])[];
}

export interface Plot {
  readonly title: string;
  /** Shown at the values of the y axis. */
  readonly unit: string;
  readonly series: readonly Series[];
  /** Values below one share the bottom; each step up is ten times as much. */
  readonly logarithmic?: boolean;
  /** Moments marked on the x axis. */
  readonly marks?: readonly { readonly x: number; readonly label: string }[];
}

const WIDTH = 760;
const HEIGHT = 220;
const LEFT = 64;
const RIGHT = 12;
const TOP = 30;
const BOTTOM = 40;
const COLOURS = ['#2563eb', '#d97706', '#059669', '#dc2626', '#7c3aed'];
/** In each plot, so that it can stand alone as an image; `--ink` and `--faint` are a page's own. */
const STYLE =
  'text{font:11px system-ui,sans-serif;fill:var(--ink,#6b7280)}.title{font-size:13px;font-weight:600}.grid{stroke:var(--faint,#9ca3af55)}.mark{stroke:#dc2626;stroke-opacity:.7}.mark.line{stroke-dasharray:3 3}';
/** More marks than these are ticks along the top: as lines they would hide what they explain. */
const FEW_MARKS = 25;
const TICK = 7;
/** Steps of a time axis that people read at a glance, s. */
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400];
const MOST_TIMES = 8;
/** Points drawn of each series at most; of those that share a place the greatest is drawn. */
const MAX_POINTS = 600;

/** Text for HTML and SVG. */
export function escaped(value: string): string {
  return value
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

export function short(value: number): string {
  if (value >= 1e6) return `${+(value / 1e6).toFixed(2)}M`;
  if (value >= 1e4) return `${+(value / 1e3).toFixed(1)}k`;
  return `${+value.toFixed(value < 10 ? 2 : 1)}`;
}

export function plotSvg({ title, unit, series, logarithmic, marks = [] }: Plot): string {
  const all = series.flatMap(({ points }) => points);
  const xMax = Math.max(1, ...all.map(([x]) => x));
  const top = niceTop(Math.max(0, ...all.map(([, y]) => y ?? 0)), logarithmic === true);
  const scale = (y: number) =>
    logarithmic ? Math.log10(Math.max(1, y * 100)) / Math.log10(top * 100) : y / top;
  const px = (x: number) => LEFT + (x / xMax) * (WIDTH - LEFT - RIGHT);
  const py = (y: number) => HEIGHT - BOTTOM - scale(y) * (HEIGHT - TOP - BOTTOM);
  const at = (value: number) => value.toFixed(1);
  const ticks = logarithmic ? decades(top) : [0, 0.25, 0.5, 0.75, 1].map((part) => part * top);
  const lines = ticks.map(
    (y) =>
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at(py(y))}" y2="${at(py(y))}"/><text x="${LEFT - 6}" y="${at(py(y) + 4)}" text-anchor="end">${short(y)}</text>`,
  );
  const times = timesUpTo(xMax).map(
    (x) =>
      `<text x="${at(px(x))}" y="${HEIGHT - BOTTOM + 16}" text-anchor="${px(x) > WIDTH - 30 ? 'end' : 'middle'}">${timeText(x, xMax)}</text>`,
  );
  const few = marks.length <= FEW_MARKS;
  const marked = marks.map(
    ({ x, label }) =>
      `<line class="mark${few ? ' line' : ''}" x1="${at(px(x))}" x2="${at(px(x))}" y1="${TOP - (few ? 0 : TICK)}" y2="${few ? HEIGHT - BOTTOM : TOP}"><title>${escaped(label)}</title></line>`,
  );
  const paths = series.map(({ points }, index) => {
    const path = thinned(points).map(([x, y], place, kept) => {
      if (y === null) return '';
      const begins = place === 0 || kept[place - 1]![1] === null;
      return `${begins ? 'M' : 'L'}${at(px(x))} ${at(py(y))}`;
    });
    return `<path fill="none" stroke="${COLOURS[index % COLOURS.length]}" stroke-width="1.5" stroke-linejoin="round" d="${path.join('')}"/>`;
  });
  const legend = series.map(
    ({ name }, index) =>
      `<text x="${LEFT + index * 130}" y="${HEIGHT - 6}" fill="${COLOURS[index % COLOURS.length]}" style="fill:${COLOURS[index % COLOURS.length]}">■ ${escaped(name)}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}"><style>${STYLE}</style><text class="title" x="${LEFT}" y="18">${escaped(title)}${unit ? `, ${escaped(unit)}` : ''}</text>${[...lines, ...times, ...marked, ...paths, ...legend].join('')}</svg>`;
}

function timesUpTo(most: number): number[] {
  const step = TIME_STEPS.find((seconds) => most / seconds <= MOST_TIMES) ?? 86_400;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
}

function timeText(seconds: number, most: number): string {
  if (most < 180) return `${seconds} s`;
  if (most < 3 * 3_600) return `${+(seconds / 60).toFixed(1)} min`;
  return `${+(seconds / 3_600).toFixed(1)} h`;
}

function niceTop(value: number, logarithmic: boolean): number {
  if (logarithmic) return 10 ** Math.max(0, Math.ceil(Math.log10(Math.max(value, 1))));
  if (value <= 0) return 1;
  const step = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 8, 10].map((part) => part * step).find((top) => top >= value) ?? 10 * step;
}

/** The logarithmic axis begins at a hundredth. */
function decades(top: number): number[] {
  return Array.from({ length: Math.round(Math.log10(top)) + 3 }, (_, power) => 10 ** (power - 2));
}

function thinned(points: Series['points']): Series['points'] {
  const size = Math.ceil(points.length / MAX_POINTS);
  if (size <= 1) return points;
  return Array.from({ length: Math.ceil(points.length / size) }, (_, group) =>
    points
      .slice(group * size, (group + 1) * size)
      .reduce((best, point) => ((point[1] ?? -1) > (best[1] ?? -1) ? point : best)),
  );
}
