// Numbers and times in words, the same everywhere on the page.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'medium' });

export const count = (value: number) => whole.format(value);
export const compact = (value: number) => short.format(value);
export const rate = (value: number) => (value > 0 && value < 10 ? value.toFixed(1) : whole.format(value));
export const moment = (ms: number) => (Math.abs(ms) <= 8.64e15 ? clock.format(ms) : `${ms} ms`);
export const isoMoment = (ms: number) => (Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : '');

export function figure(value: number | null): string {
  if (value === null) return '–';
  return Number(value.toPrecision(4)).toString();
}

const STEPS = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1000, 's'],
] as const;

/** How long ago, in the largest fitting unit: `12 s`, `3 min`. Never negative. */
export function age(ms: number, nowMs: number): string {
  const past = Math.max(0, nowMs - ms);
  const step = STEPS.find(([size]) => past >= size);
  return step ? `${Math.floor(past / step[0])} ${step[1]}` : '0 s';
}

export function bytes(value: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let left = value;
  while (left >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? left : left.toFixed(1)} ${units[unit]}`;
}

export const SOURCES: Readonly<Record<number, string>> = {
  1: 'MQTT',
  2: 'WebSocket',
  3: 'HTTP',
  4: 'window',
  5: 'model',
  6: 'gateway',
};
