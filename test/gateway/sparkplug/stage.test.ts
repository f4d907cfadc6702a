// The Sparkplug stage over a real log: metrics by name as records, once each whatever kills it; and whom it asks.
import { afterEach, expect, test } from 'vitest';
import { templatesSchema } from '../../../gateway/codecs/config.ts';
import { numericFields } from '../../../gateway/codecs/fields.ts';
import { TopicTemplates } from '../../../gateway/codecs/template.ts';
import { sparkplugConfigSchema } from '../../../gateway/sparkplug/config.ts';
import {
  SparkplugDerivation,
  type SparkplugStageConfig,
  sparkplugStage,
} from '../../../gateway/sparkplug/stage.ts';
import { windowsConfigSchema } from '../../../gateway/windows/config.ts';
import { windowsStage } from '../../../gateway/windows/stage.ts';
import { offset } from '../../../ledger/format/brand.ts';
import { type RecordInput, SOURCE } from '../../../ledger/format/record.ts';
import { clockOf } from '../../support/clock.ts';
import { Plant, runThroughKills } from '../stage/deriving-harness.ts';
import { ARRAYS, arraysPayload, bdSeq, encode, structuredPayload, type TahuPayload } from './payloads.ts';

const NOW = 1_763_600_000_000;
const config: SparkplugStageConfig = {
  sparkplug: sparkplugConfigSchema.parse({ enabled: true }),
  clock: { maxAheadMs: 600_000, maxBehindMs: 86_400_000 },
};

const plants: Plant[] = [];
afterEach(() => {
  for (const plant of plants.splice(0)) plant.remove();
});
function newPlant(): Plant {
  const plant = new Plant();
  plants.push(plant);
  return plant;
}

function message(topic: string, payload: TahuPayload | Buffer, receivedMs = NOW): RecordInput {
  return {
    eventMs: receivedMs,
    receivedMs,
    topic: `spBv1.0/${topic}`,
    device: topic.split('/')[0]!,
    sequence: null,
    source: SOURCE.mqtt,
    contentType: '',
    headers: [],
    payload: Buffer.isBuffer(payload) ? payload : encode(payload),
    salt: new Uint8Array(0),
  };
}

const birth = (node: string, bd = 1) =>
  message(`G/NBIRTH/${node}`, {
    timestamp: NOW,
    seq: 0,
    metrics: [bdSeq(bd), { name: 'Temperature', alias: 1, type: 'Double', value: 20 }],
  });
const data = (node: string, seq: number, value: number, more: object = {}) =>
  message(`G/NDATA/${node}`, {
    timestamp: NOW + seq,
    seq,
    metrics: [{ alias: 1, type: 'Double', value, ...more }],
  });

const inputs = [
  data('B', 9, 1),
  birth('A'),
  birth('B'),
  ...Array.from({ length: 12 }, (_, at) => data(at % 2 ? 'A' : 'B', 1 + Math.floor(at / 2), at / 4)),
  message('G/NDATA/A', Buffer.from('not protobuf')),
  message('STATE/scada', Buffer.from('{"online":true,"timestamp":1}')),
  data('A', 9, 5),
];

test('metrics stand in the log by name, once, whatever kills the stage', async () => {
  const undisturbed = newPlant();
  await undisturbed.append(inputs);
  await undisturbed.run({ name: 'sparkplug', body: sparkplugStage, config });
  const expected = await undisturbed.results(SOURCE.gateway);
  expect(expected).toHaveLength(15);
  expect(expected[0]).toBe(`$tidemark/sparkplug/G/A G/A 1/0 ${NOW} {"Temperature":20}`);

  const plant = newPlant();
  await plant.append(inputs);
  await runThroughKills(
    (killAt) =>
      plant.run({
        name: 'sparkplug',
        body: sparkplugStage,
        config,
        step: 4,
        ...(killAt === undefined ? {} : { killAt }),
      }),
    Array.from({ length: 12 }, (_, at) => at + 1),
  );
  expect((await plant.results(SOURCE.gateway)).sort()).toEqual([...expected].sort());
});

test('windows take them by the topics they were sent under, and by the times the metrics bring', async () => {
  const plant = newPlant();
  await plant.append([birth('A'), data('A', 1, 22), data('A', 2, 24), data('A', 3, 99, { timestamp: 0 })]);
  await plant.run({ name: 'sparkplug', body: sparkplugStage, config });
  await plant.append([
    message('G/NDATA/other', Buffer.alloc(0), NOW + 120_000),
    { ...data('A', 4, 0), topic: 'plant/x/y', eventMs: NOW + 120_000, receivedMs: NOW + 120_000 },
  ]);
  let flagged: unknown = null;
  await plant.run({
    name: 'windows',
    body: windowsStage(clockOf(() => NOW)),
    config: {
      windows: windowsConfigSchema.parse([{ name: 'minute', topics: ['spBv1.0/G/#'] }]),
      templates: templatesSchema.parse(undefined),
    },
    onReport: (figures) => {
      flagged = figures.flagged;
    },
  });
  const [result] = await plant.results(SOURCE.window);
  expect(result).toContain('G/A');
  const { fields } = JSON.parse(result!.slice(result!.indexOf('{'))) as { fields: object };
  expect(fields).toEqual({ Temperature: { count: 3, min: 20, max: 24, mean: 22 } });
  // The one of 1970 is flagged as a record of any device would be.
  expect(flagged).toBe(1);
});

function derivation(nowMs: { value: number }, changes: object = {}, state: Uint8Array | null = null) {
  const asked: string[] = [];
  const sparkplug = sparkplugConfigSchema.parse({ enabled: true, ...changes });
  const stage = new SparkplugDerivation(
    { ...config, sparkplug, publish: (topic) => asked.push(topic), now: () => nowMs.value },
    state,
  );
  let next = 0;
  const feed = (...records: RecordInput[]) =>
    stage.feed(records.map((record) => ({ ...record, offset: offset(next++) })));
  return { stage, asked, feed };
}

test('an edge node is asked for its births at most once in the interval, and only for what is new', async () => {
  const now = { value: NOW };
  const { stage, asked, feed } = derivation(now);
  await feed(data('A', 1, 1), data('A', 2, 1), data('B', 1, 1));
  expect(asked).toEqual(['spBv1.0/G/NCMD/A', 'spBv1.0/G/NCMD/B']);
  now.value += 59_999;
  await feed({ ...data('A', 3, 1), receivedMs: now.value });
  expect(asked).toHaveLength(2);
  now.value += 1;
  await feed(data('C', 1, 1), { ...data('A', 4, 1), receivedMs: now.value });
  expect(asked).toEqual(['spBv1.0/G/NCMD/A', 'spBv1.0/G/NCMD/B', 'spBv1.0/G/NCMD/C', 'spBv1.0/G/NCMD/A']);
  now.value += 1;
  await feed(data('D', 1, 1)); // received more than a minute ago
  expect(asked).toHaveLength(4);
  expect(stage.figures().rebirthsRequested).toBe(4);
});

test('asking can be switched off', async () => {
  const { asked, feed } = derivation({ value: NOW }, { rebirth: false });
  await feed(data('A', 1, 1));
  expect(asked).toEqual([]);
});

test('a birth of many metrics becomes records that windows can read whole; history is told from live values', async () => {
  const { feed } = derivation({ value: NOW });
  const metrics = Array.from({ length: 150 }, (_, n) => ({ name: `m${n}`, type: 'Int32', value: n }));
  const results = await feed(message('G/NBIRTH/A', { timestamp: NOW, seq: 0, metrics }));
  expect(results.map(({ payload }) => Object.keys(payload).length)).toEqual([64, 64, 22]);
  expect(new Set(results.map(({ key }) => key)).size).toBe(3);
  const mixed = await feed(
    message('G/NDATA/A', {
      timestamp: NOW,
      seq: 1,
      metrics: [
        { name: 'm1', type: 'Int32', value: 1, timestamp: NOW },
        { name: 'm1', type: 'Int32', value: 2, timestamp: NOW - 5_000, isHistorical: true },
        { name: 'm2', type: 'Int32', value: 3, timestamp: NOW },
      ],
    }),
  );
  expect(mixed.map(({ eventMs, payload }) => [eventMs, payload])).toEqual([
    [NOW, { m1: 1, m2: 3 }],
    [NOW - 5_000, { m1: 2 }],
  ]);
  expect(mixed[1]?.headers).toContainEqual(['sparkplug-historical', Buffer.from('true')]);
});

test('arrays, data sets and templates are fields; what is not read is counted by kind; the payload stays as it was sent', async () => {
  const plant = newPlant();
  const sent = message('G/DDATA/A/D', structuredPayload);
  await plant.append([
    birth('A'),
    message('G/DBIRTH/A/D', encode({ timestamp: NOW, seq: 1, metrics: [] })),
    sent,
    message('G/NDATA/A', arraysPayload),
  ]);
  let figures: Record<string, unknown> = {};
  await plant.run({
    name: 'sparkplug',
    body: sparkplugStage,
    config,
    onReport: (reported) => {
      figures = reported;
    },
  });
  expect(figures).toMatchObject({
    unreadValues: 2,
    unreadBytes: 1,
    unreadDefinitions: 1,
    unreadMalformed: 0,
  });
  const results = (await plant.results(SOURCE.gateway)).map((line) => line.slice(line.indexOf('{')));
  expect(results.join()).toContain('"Harmonics":[{"order":-1,"amplitude":0.25,"phase":0.5,"note":"a"}');
  expect(results.join()).toContain('"bearing":{"template":"Bearing","metrics":{"celsius":61.5}}');
  for (const [name, , , value] of ARRAYS)
    expect(results.join()).toContain(`"${name}":${JSON.stringify(value)}`);
  const fields = numericFields(
    { topic: 'spBv1.0/G/A/D', contentType: 'application/json', payload: Buffer.from(results[1]!) },
    new TopicTemplates(templatesSchema.parse(undefined)),
  );
  expect(Object.fromEntries(fields)).toMatchObject({
    'Harmonics.1.amplitude': 1.5,
    'Motor 1.metrics.rpm': -1_480,
    'Motor 1.metrics.bearing.metrics.celsius': 61.5,
  });
});
