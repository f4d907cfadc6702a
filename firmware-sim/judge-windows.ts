// Owns recomputing windows from the records in the log, by the rules of docs/protocols.md and with code of its own, and
// comparing them with what the gateway appended. Looks at devices that send flat JSON objects, as the fleet's do.
import type { HeldRecord } from './held.ts';

/** The settings of a tumbling window that decide its results. */
export interface WindowSettings {
  readonly name: string;
  readonly topics: readonly string[];
  readonly sizeMs: number;
  readonly allowedLatenessMs: number;
  readonly maxAheadMs: number;
  readonly maxFutureMs: number;
  readonly maxSeries: number;
}

export interface WindowOffender {
  readonly window: string;
  readonly device: string;
  readonly startMs: number;
  readonly problem: 'missing' | 'different' | 'doubled';
  readonly detail: string;
}

export interface WindowVerdict {
  /** Windows of devices that were completed, as recomputed here, and of them those compared. */
  readonly completed: number;
  readonly compared: number;
  readonly missing: number;
  readonly different: number;
  readonly doubled: number;
  /** More series than a window may hold were open at once: then what is missing is counted and not blamed. */
  readonly limited: boolean;
  readonly offenders: readonly WindowOffender[];
  readonly ok: boolean;
}

interface Aggregate {
  count: number;
  min: number;
  max: number;
  sum: number;
}

type Fields = Map<string, Aggregate>;

interface Emitted {
  readonly startMs: number;
  readonly fields: Readonly<Record<string, { count: number; min: number; max: number; mean: number }>>;
}

const RESULTS = /^\$tidemark\/windows\/(.+)$/;
const CLOCK_FLAG = 'tidemark-clock';
const TICK = '$tidemark/tick';
const DEVICE_SOURCES = 3;
const GATEWAY_SOURCE = 6;
const MAX_OFFENDERS = 20;
/** Receipts that go back by more show that the gateway's clock was set back. */
const DISORDER_MS = 60_000;
/** Sums taken in another order differ in the last digits. */
const TOLERANCE = 1e-9;

class OneWindow {
  readonly settings: WindowSettings;
  readonly #open = new Map<number, Map<string, Fields>>();
  /** Completed here, waiting for the gateway's own; removed when compared. */
  readonly awaited = new Map<string, Fields>();
  readonly given = new Set<string>();
  /** Starts of windows that are over: they stay so when the clock is set back. */
  readonly #over = new Set<number>();
  #progressMs = Number.NEGATIVE_INFINITY;
  #series = 0;
  completed = 0;
  limited = false;

  constructor(settings: WindowSettings) {
    this.settings = settings;
  }

  add(record: HeldRecord, fields: Iterable<readonly [string, number]>): void {
    const { sizeMs, maxFutureMs, allowedLatenessMs, maxSeries } = this.settings;
    const { eventMs, receivedMs, device } = record;
    if (eventMs > receivedMs + maxFutureMs) return;
    const startMs = Math.floor(eventMs / sizeMs) * sizeMs;
    if (startMs + sizeMs <= this.#progressMs - allowedLatenessMs || this.#over.has(startMs)) return;
    const devices = this.#open.get(startMs) ?? new Map<string, Fields>();
    this.#open.set(startMs, devices);
    const own: Fields = devices.get(device) ?? new Map();
    devices.set(device, own);
    for (const [field, value] of fields) {
      const known = own.get(field);
      if (!known) {
        this.#series += 1;
        own.set(field, { count: 1, min: value, max: value, sum: value });
      } else {
        known.count += 1;
        known.min = Math.min(known.min, value);
        known.max = Math.max(known.max, value);
        known.sum += value;
      }
    }
    if (this.#series > maxSeries) this.limited = true;
  }

  advance(toMs: number): void {
    if (toMs <= this.#progressMs) return;
    this.#progressMs = toMs;
    const { sizeMs, allowedLatenessMs } = this.settings;
    this.#complete((startMs) => startMs + sizeMs <= toMs - allowedLatenessMs);
  }

  /** The gateway's clock was set back: what is open beyond the new time is over, and time begins anew. */
  stepBack(nowMs: number): void {
    this.#progressMs = Number.NEGATIVE_INFINITY;
    this.#complete((startMs) => startMs > nowMs + this.settings.maxAheadMs);
  }

  #complete(isOver: (startMs: number) => boolean): void {
    for (const [startMs, devices] of this.#open) {
      if (!isOver(startMs)) continue;
      this.#open.delete(startMs);
      this.#over.add(startMs);
      for (const [device, fields] of devices) {
        this.#series -= fields.size;
        this.completed += 1;
        const key = `${device} ${startMs}`;
        if (fields.size > 0 && !this.given.has(key)) this.awaited.set(key, fields);
      }
    }
  }
}

export class WindowJudge {
  readonly #windows: readonly OneWindow[];
  readonly #offenders: WindowOffender[] = [];
  readonly #counts = { compared: 0, missing: 0, different: 0, doubled: 0 };
  /** Devices of which not every record is a flat JSON object: their fields have other rules. */
  readonly #others = new Set<string>();
  /** Windows that had begun before the first record heard may hold what was not heard. */
  #heardFromMs = Number.POSITIVE_INFINITY;
  #firstOffset = -1;
  /** Latest receipt since the gateway's clock was last set back. */
  #latestMs = Number.NEGATIVE_INFINITY;

  /** Windows that take other topics than all are left out: filters are not judged here. */
  constructor(settings: readonly WindowSettings[]) {
    this.#windows = settings
      .filter(({ topics }) => topics.length === 1 && topics[0] === '#')
      .map((window) => new OneWindow(window));
  }

  hear(record: HeldRecord): void {
    const { topic, source, eventMs, receivedMs, device } = record;
    if (this.#firstOffset < 0) this.#firstOffset = record.offset;
    const name = RESULTS.exec(topic)?.[1];
    const isTick = source === GATEWAY_SOURCE && topic === TICK;
    if (isTick || source <= DEVICE_SOURCES) this.#seeClock(receivedMs);
    if (name !== undefined) this.#compare(name, record);
    else if (isTick) for (const window of this.#windows) window.advance(receivedMs);
    else if (source <= DEVICE_SOURCES && !topic.startsWith('$')) {
      // A time that cannot be right is in no window and moves no watermark.
      if (record.headers.some(([header]) => header === CLOCK_FLAG)) return;
      if (this.#firstOffset > 0) this.#heardFromMs = Math.min(this.#heardFromMs, receivedMs);
      const fields = fieldsOf(record);
      if (!fields) this.#others.add(device);
      for (const window of this.#windows) {
        if (fields) window.add(record, fields);
        window.advance(Math.min(eventMs, receivedMs + window.settings.maxAheadMs));
      }
    }
  }

  #seeClock(nowMs: number): void {
    if (nowMs < this.#latestMs - DISORDER_MS) {
      this.#latestMs = nowMs;
      for (const window of this.#windows) window.stepBack(nowMs);
    } else this.#latestMs = Math.max(this.#latestMs, nowMs);
  }

  verdict(): WindowVerdict {
    for (const window of this.#windows) {
      for (const key of window.awaited.keys()) {
        const [device, startMs] = split(key);
        if (!this.#isJudged(device, startMs)) continue;
        this.#counts.missing += 1;
        if (!window.limited)
          this.#blame({
            window: window.settings.name,
            device,
            startMs,
            problem: 'missing',
            detail: 'not in the log',
          });
      }
    }
    const { compared, missing, different, doubled } = this.#counts;
    const limited = this.#windows.some((window) => window.limited);
    return {
      completed: this.#windows.reduce((sum, window) => sum + window.completed, 0),
      compared,
      missing,
      different,
      doubled,
      limited,
      offenders: this.#offenders,
      ok: different + doubled === 0 && (missing === 0 || limited),
    };
  }

  #isJudged(device: string, startMs: number): boolean {
    return !this.#others.has(device) && (this.#firstOffset === 0 || startMs > this.#heardFromMs);
  }

  #compare(name: string, { device, payload }: HeldRecord): void {
    const window = this.#windows.find(({ settings }) => settings.name === name);
    if (!window) return;
    const { startMs, fields } = JSON.parse(Buffer.from(payload).toString()) as Emitted;
    const key = `${device} ${startMs}`;
    if (!this.#isJudged(device, startMs)) {
      window.awaited.delete(key);
      return;
    }
    const twice = window.given.has(key);
    window.given.add(key);
    const own = window.awaited.get(key);
    window.awaited.delete(key);
    if (!twice) this.#counts.compared += 1;
    const detail = twice ? 'it is there already' : difference(fields, own, window.limited);
    if (detail === null) return;
    const problem = twice ? 'doubled' : 'different';
    this.#counts[problem] += 1;
    this.#blame({ window: name, device, startMs, problem, detail });
  }

  #blame(offender: WindowOffender): void {
    if (this.#offenders.length < MAX_OFFENDERS) this.#offenders.push(offender);
  }
}

/** What the gateway's result and ours differ in; null when they agree. */
function difference(fields: Emitted['fields'], own: Fields | undefined, limited: boolean): string | null {
  if (!own) return 'no record of it was completed here';
  for (const [field, { count, min, max, mean }] of Object.entries(fields)) {
    const mine = own.get(field);
    if (!mine) return `${field} has no values`;
    const ours = mine.sum / mine.count;
    const near = Math.abs(mean - ours) <= TOLERANCE * Math.max(1, Math.abs(mean));
    if (count !== mine.count || min !== mine.min || max !== mine.max || !near)
      return `${field}: count ${count} min ${min} max ${max} mean ${mean}, recomputed ${mine.count} ${mine.min} ${mine.max} ${ours}`;
  }
  const given = Object.keys(fields).length;
  return given < own.size && !limited ? `${own.size} fields recomputed, ${given} given` : null;
}

function split(key: string): [device: string, startMs: number] {
  const at = key.lastIndexOf(' ');
  return [key.slice(0, at), Number(key.slice(at + 1))];
}

/** `metric.name` and value of each number but the time and the counter; null when it is not a flat JSON object. */
function fieldsOf({ topic, payload }: HeldRecord): [string, number][] | null {
  if (payload[0] !== 0x7b) return null;
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(Buffer.from(payload).toString()) as Record<string, unknown>;
  } catch {
    return null;
  }
  const levels = topic.split('/');
  if (levels.length !== 3) return null;
  const entries = Object.entries(value).filter(([name]) => name !== 'ts' && name !== 'seq');
  if (!entries.every(([, entry]) => typeof entry === 'number')) return null;
  return entries.map(([name, entry]) => [`${levels[2]}.${name}`, entry as number]);
}
