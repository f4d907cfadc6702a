// Kills the model stage between any two of its outward steps and holds the log against an undisturbed run.
import { afterEach, expect, test } from 'vitest';
import { templatesSchema } from '../../gateway/codecs/config.ts';
import { type RecordInput, SOURCE } from '../../ledger/format/record.ts';
import { modelsConfigSchema } from '../../models/config.ts';
import { type ModelStageConfig, modelStage } from '../../models/stage.ts';
import { Plant, runThroughKills } from '../gateway/stage/deriving-harness.ts';
import { clockOf } from '../support/clock.ts';

const plants: Plant[] = [];
afterEach(() => {
  for (const plant of plants.splice(0)) plant.remove();
});

const START_MS = 1_763_600_000_000;
const config: ModelStageConfig = {
  // A low threshold and no silence, so that there are results to double or lose.
  model: modelsConfigSchema.parse([
    { name: 'anomaly', threshold: 1.5, warmupRecords: 0, refractoryRecords: 3 },
  ])[0]!,
  templates: templatesSchema.parse(undefined),
};

/** Two devices with two fields each and a few spikes. */
const inputs: RecordInput[] = Array.from({ length: 260 }, (_, at) => {
  const wave = Math.sin(at / 9) + Math.sin(at * 12.9898) * 0.4;
  const spike = at % 37 === 0 ? 6 : 0;
  return {
    eventMs: START_MS + at * 500,
    receivedMs: START_MS + at * 500 + 4,
    topic: `plant/pump-${at % 2}/vibration`,
    device: `pump-${at % 2}`,
    sequence: at,
    source: SOURCE.http,
    contentType: 'application/json',
    headers: [],
    payload: new TextEncoder().encode(JSON.stringify({ rms: wave + spike, peak: wave * 3, seq: at })),
    salt: new Uint8Array(0),
  };
});

async function newPlant(): Promise<Plant> {
  const plant = new Plant();
  plants.push(plant);
  await plant.append(inputs);
  return plant;
}

const runOn = (plant: Plant, step: number) => (killAt?: number) => {
  let nowMs = START_MS + 1_000_000;
  return plant.run({
    name: 'model:anomaly',
    body: modelStage(clockOf(() => (nowMs += 300))),
    config,
    step,
    ...(killAt === undefined ? {} : { killAt }),
  });
};

test('results carry the payload of the protocol', async () => {
  const plant = await newPlant();
  await runOn(plant, 50)();
  const results = (await plant.records()).filter(({ source }) => source === SOURCE.model);
  expect(results.length).toBeGreaterThan(5);
  const [first] = results;
  const payload = JSON.parse(new TextDecoder().decode(first!.payload)) as Record<string, unknown>;
  expect(first).toMatchObject({
    topic: '$tidemark/anomalies/anomaly',
    sequence: null,
    contentType: 'application/json',
  });
  expect(payload).toEqual({
    model: 'forecaster-64',
    version: '1.0.0',
    field: expect.stringMatching(/^vibration\.(rms|peak)$/),
    score: expect.any(Number),
    threshold: 1.5,
    value: expect.any(Number),
    offset: expect.any(Number),
    sign: expect.stringMatching(/^(step|level|rough)$/),
  });
  const cause = (await plant.records())[payload.offset as number]!;
  expect([cause.device, cause.eventMs]).toEqual([first!.device, first!.eventMs]);
  expect(
    (JSON.parse(new TextDecoder().decode(cause.payload)) as Record<string, number>)[
      String(payload.field).slice(10)
    ],
  ).toBe(payload.value);
});

test('killed at every outward step in turn and read in other portions afterwards, no anomaly is doubled or missing', async () => {
  const straight = await newPlant();
  const steps = await runOn(straight, 13)();
  const expected = (await straight.results(SOURCE.model)).sort();
  expect(steps).toBeGreaterThan(16);
  for (let killAt = 1; killAt <= steps; killAt += 3) {
    const plant = await newPlant();
    await runThroughKills((kill) => runOn(plant, kill === undefined ? 29 : 13)(kill), [killAt]);
    expect((await plant.results(SOURCE.model)).sort(), `killed at step ${killAt} of ${steps}`).toEqual(
      expected,
    );
  }
}, 120_000);

test('a run over what is done already changes nothing', async () => {
  const plant = await newPlant();
  await runOn(plant, 50)();
  const before = await plant.results(SOURCE.model);
  await runOn(plant, 50)();
  expect(await plant.results(SOURCE.model)).toEqual(before);
});
