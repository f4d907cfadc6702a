// Kills the windows stage between any two of its outward steps and holds the log against an undisturbed run.
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { templatesSchema } from '../../../gateway/codecs/config.ts';
import type { Clock } from '../../../gateway/stage/clock.ts';
import { windowsConfigSchema } from '../../../gateway/windows/config.ts';
import { type WindowsStageConfig, windowsStage } from '../../../gateway/windows/stage.ts';
import { TICK_TOPIC } from '../../../gateway/windows/tumbling.ts';
import { type RecordInput, SOURCE } from '../../../ledger/format/record.ts';
import { clockOf } from '../../support/clock.ts';
import { Plant, runThroughKills } from '../stage/deriving-harness.ts';

const plants: Plant[] = [];
function newPlant(): Plant {
  const plant = new Plant();
  plants.push(plant);
  return plant;
}
afterEach(() => {
  for (const plant of plants.splice(0)) plant.remove();
});

const START_MS = 1_763_600_000_000;
const config: WindowsStageConfig = {
  windows: windowsConfigSchema.parse([
    { name: 'second', sizeMs: 1000, allowedLatenessMs: 300 },
    { name: 'three', sizeMs: 3000, allowedLatenessMs: 0 },
  ]),
  templates: templatesSchema.parse(undefined),
};

function reading(device: string, eventMs: number, value: number): RecordInput {
  return {
    eventMs,
    receivedMs: eventMs + 5,
    topic: `plant/${device}/flow`,
    device,
    sequence: null,
    source: SOURCE.mqtt,
    contentType: 'application/json',
    headers: [],
    payload: new TextEncoder().encode(JSON.stringify({ value, other: { x: value * 2 } })),
    salt: new Uint8Array(0),
  };
}

const inputs = Array.from({ length: 66 }, (_, at) =>
  reading(`pump-${at % 3}`, START_MS + at * 97, Math.sin(at)),
);

/** Each look at the clock is 400 ms later, so that saves and figures come every few steps. */
function quickClock(): Clock {
  let nowMs = START_MS + 1_000_000;
  return clockOf(() => (nowMs += 400));
}

const runOn =
  (plant: Plant, clock = quickClock()) =>
  (killAt?: number) =>
    plant.run({
      name: 'windows',
      body: windowsStage(clock),
      config,
      step: 7,
      ...(killAt === undefined ? {} : { killAt }),
    });

async function undisturbed(): Promise<{ results: string[]; steps: number }> {
  const plant = newPlant();
  await plant.append(inputs);
  const steps = await runOn(plant)();
  return { results: await plant.results(SOURCE.window), steps };
}

test('a window per device, size and start stands in the log, with the payload of the protocol', async () => {
  const { results } = await undisturbed();
  const minute = START_MS - (START_MS % 1000);
  expect(results).toContain(
    `$tidemark/windows/second pump-0 1000/${minute} ${minute + 1000} ${JSON.stringify({
      window: 'second',
      startMs: minute,
      endMs: minute + 1000,
      fields: fieldsOf([0, 3, 6, 9]),
    })}`,
  );
  expect(new Set(results).size).toBe(results.length);
  expect(results.length).toBeGreaterThan(15);
});

function fieldsOf(ats: number[]) {
  const values = ats.map(Math.sin);
  let mean = 0;
  for (const [at, value] of values.entries()) mean += value / (at + 1) - mean / (at + 1);
  const flow = { count: values.length, min: Math.min(...values), max: Math.max(...values), mean };
  const twice = { count: flow.count, min: flow.min * 2, max: flow.max * 2, mean: mean * 2 };
  return { flow, 'flow.other.x': twice };
}

test('killed at every outward step in turn, no window is doubled or missing', async () => {
  const { results, steps } = await undisturbed();
  expect(steps).toBeGreaterThan(20);
  for (let killAt = 1; killAt <= steps; killAt += 1) {
    const plant = newPlant();
    await plant.append(inputs);
    await runThroughKills(runOn(plant), [killAt]);
    expect((await plant.results(SOURCE.window)).sort(), `killed at step ${killAt} of ${steps}`).toEqual(
      [...results].sort(),
    );
  }
}, 120_000);

test('killed again and again, also while it repeats what an earlier run had appended', async () => {
  const { results } = await undisturbed();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 2, maxLength: 6 }),
      async (kills) => {
        const plant = newPlant();
        await plant.append(inputs);
        await runThroughKills(runOn(plant), kills);
        expect((await plant.results(SOURCE.window)).sort()).toEqual([...results].sort());
      },
    ),
    { numRuns: 12 },
  );
});

test('killed a second time between saves of a replay, it still knows what the first run had appended', async () => {
  const { results } = await undisturbed();
  for (let killAt = 2; killAt <= 14; killAt += 2) {
    const plant = newPlant();
    await plant.append(inputs);
    // Its clock stands still, so the first run appends nearly everything and saves nothing.
    await expect(
      runOn(
        plant,
        clockOf(() => START_MS),
      )(14),
    ).rejects.toThrow('killed');
    await runThroughKills(runOn(plant), [killAt]);
    expect((await plant.results(SOURCE.window)).sort()).toEqual([...results].sort());
  }
});

test('results appended by a run whose state was lost altogether are not repeated', async () => {
  const plant = newPlant();
  await plant.append(inputs);
  await runOn(plant)();
  const before = await plant.results(SOURCE.window);
  const { StateStore } = await import('../../../gateway/state/state.ts');
  const state = new StateStore(plant.dataDir);
  const start = (await plant.records())[0]!.offset;
  state.saveCursor('windows', start, null);
  state.close();
  await runOn(plant)();
  expect(await plant.results(SOURCE.window)).toEqual(before);
});

test('when devices fall silent, one tick through the log closes what is past its end', async () => {
  const plant = newPlant();
  await plant.append(inputs.slice(0, 30));
  let nowMs = START_MS + 20_000;
  const figures: Record<string, unknown>[] = [];
  // Two runs: the first sees the silence only once it has lasted idleMs.
  for (const stepMs of [0, 6_000]) {
    await plant.run({
      name: 'windows',
      body: windowsStage(clockOf(() => (nowMs += stepMs))),
      config,
      onReport: (given) => figures.push(given),
    });
  }
  const ticks = (await plant.records()).filter((record) => record.topic === TICK_TOPIC);
  expect(ticks.map(({ source, device }) => [source, device])).toEqual([[SOURCE.gateway, '']]);
  // The run that ticked stops before it reads the tick; the next one does.
  await plant.run({
    name: 'windows',
    body: windowsStage(clockOf(() => nowMs)),
    config,
    onReport: (given) => figures.push(given),
  });
  expect(figures.at(-1)).toMatchObject({ openSeries: 0, late: 0, next: expect.any(Number) });
  expect((await plant.records()).filter((record) => record.topic === TICK_TOPIC)).toHaveLength(1);
});
