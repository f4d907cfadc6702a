// Holds pressure to its definition, and admission to refusing by it: who waits for an answer last, repetitions never.
import { afterEach, describe, expect, test } from 'vitest';
import { pressureConfigSchema } from '../../../gateway/admission/config.ts';
import { Pressure } from '../../../gateway/admission/pressure.ts';
import { Harness } from './harness.ts';

const MIB = 1024 * 1024;
const DEFAULTS = pressureConfigSchema.parse({});

/** Sources that can be set, and a clock that stands still. */
function bench(config = DEFAULTS) {
  const figures = { waiting: 0, unsealed: 0, unforwarded: 0, left: (1024 * MIB) as number | null };
  const clock = { nowMs: 0, reads: 0 };
  const sources = {
    waitingBytes: () => {
      clock.reads += 1;
      return figures.waiting;
    },
    unsealedBytes: () => figures.unsealed,
    unforwardedBytes: () => figures.unforwarded,
    diskLeftBytes: () => figures.left,
  };
  const pressure = new Pressure(config, sources, () => clock.nowMs);
  return { figures, clock, pressure };
}

describe('pressure', () => {
  test('is the greatest of its parts, each against what counts as full', () => {
    const config = pressureConfigSchema.parse({
      waitingBytes: 1000,
      unsealedBytes: 2000,
      unforwardedBytes: 4000,
      diskLeftBytes: 100,
    });
    const { figures, clock, pressure } = bench(config);
    const at = (change: Partial<typeof figures>) => {
      Object.assign(figures, { waiting: 0, unsealed: 0, unforwarded: 0, left: null }, change);
      clock.nowMs += 100;
      return pressure.figures;
    };
    expect(at({})).toEqual({ value: 0, parts: { log: 0, sealer: 0, forwarders: 0, disk: 0 } });
    expect(at({ waiting: 250, unsealed: 1000, unforwarded: 1000, left: 1000 })).toEqual({
      value: 0.5,
      parts: { log: 0.25, sealer: 0.5, forwarders: 0.25, disk: 0.1 },
    });
    expect(at({ waiting: 5000 }).value).toBe(1);
    expect(at({ left: 200 }).value).toBe(0.5);
    expect(at({ left: 100 }).value).toBe(1);
    expect(at({ left: 0 }).value).toBe(1);
    expect(at({ left: null }).value).toBe(0);
  });

  test('is computed at most every 100 ms, however often it is asked for', () => {
    const { figures, clock, pressure } = bench();
    for (let n = 0; n < 1000; n++) pressure.refusal(false);
    expect(clock.reads).toBe(1);
    figures.waiting = 32 * MIB;
    clock.nowMs = 99;
    expect(pressure.refusal(false)).toBeNull();
    clock.nowMs = 100;
    expect(pressure.refusal(false)).toBe('overloaded');
    expect(clock.reads).toBe(2);
  });

  test('by default an upstream that is away for days refuses nobody while the disk has room', () => {
    const { figures, clock, pressure } = bench();
    // A week of 100,000 records of 100 bytes a second would be 6 TB: more than these disks hold.
    figures.unforwarded = 500 * 1024 * MIB;
    figures.unsealed = 10 * 1024 * MIB;
    expect(pressure.refusal(true)).toBeNull();
    figures.left = 8 * MIB;
    clock.nowMs = 100;
    expect(pressure.refusal(false)).toBe('disk-full');
  });

  test('whoever does not wait for an answer is given up first', () => {
    const { figures, clock, pressure } = bench();
    figures.waiting = 30 * MIB;
    expect(pressure.refusal(true)).toBe('overloaded');
    expect(pressure.refusal(false)).toBeNull();
    figures.waiting = 20 * MIB;
    clock.nowMs = 100;
    expect(pressure.refusal(true)).toBeNull();
  });

  test('thresholds that contradict each other are refused', () => {
    expect(pressureConfigSchema.safeParse({ shedAt: 0.5 }).success).toBe(false);
    expect(pressureConfigSchema.safeParse({ shedAt: 0.5, shedUnacknowledgedAt: 0.4 }).success).toBe(true);
  });
});

describe('admission under pressure', () => {
  let harness: Harness;
  afterEach(() => harness.remove());

  const overFilled = async () => {
    const clock = { nowMs: 0 };
    const config = pressureConfigSchema.parse({ waitingBytes: 2000, shedUnacknowledgedAt: 0.2 });
    harness = await Harness.open({
      log: { reserveBytes: 0 },
      pressure: (log) =>
        new Pressure(
          config,
          {
            waitingBytes: () => log.figures().pendingBytes,
            unsealedBytes: () => 0,
            unforwardedBytes: () => 0,
            diskLeftBytes: () => null,
          },
          () => clock.nowMs,
        ),
    });
    return clock;
  };

  test('refuses with a hint, drops QoS 0 earlier, answers repetitions, and goes on when it has passed', async () => {
    const clock = await overFilled();
    const known = { sequence: 1, payload: Buffer.from('{"value":1}') };
    expect(await harness.submit(known)).toMatchObject({ kind: 'stored' });
    harness.disk.hold();
    const held = [harness.submit({ sequence: 2, payload: Buffer.alloc(600) })];
    await harness.disk.syncAsked();
    clock.nowMs += 100;
    expect(await harness.submit({ unacknowledged: true })).toEqual({
      kind: 'shed',
      reason: 'overloaded',
      retryAfterMs: 250,
      dropped: true,
    });
    held.push(harness.submit({ sequence: 3, payload: Buffer.alloc(1500) }));
    clock.nowMs += 100;
    expect(await harness.submit({ sequence: 4 })).toEqual({
      kind: 'shed',
      reason: 'overloaded',
      retryAfterMs: 250,
    });
    expect(await harness.submit(known)).toEqual({ kind: 'duplicate' });
    expect(harness.admission.figures().shed.overloaded).toBe(2);
    harness.disk.release();
    for (const outcome of await Promise.all(held)) expect(outcome.kind).toBe('stored');
    clock.nowMs += 100;
    expect(await harness.submit({ sequence: 4 })).toMatchObject({ kind: 'stored' });
    expect(await harness.submit({ unacknowledged: true })).toMatchObject({ kind: 'stored' });
  });
});
