// What the adapters and admission count, on the way to /metrics and the status; and failures on their way to the log.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { IngestFigures } from '../../../gateway/api/deps.ts';
import { reading, startTestGateway, type TestGateway } from './gateway.ts';

/** Every figure another number, so that each can be told from all the rest. */
const ingest: IngestFigures = {
  admission: {
    accepted: { mqtt: 7001, http: 7002, websocket: 7003 },
    refused: { mqtt: 7004, http: 7005, websocket: 7006 },
    duplicates: 7007,
    rejected: { malformed: 7008, 'bad-topic': 7009, 'too-large': 7010, 'not-allowed': 7011, invalid: 7019 },
    shed: { overloaded: 7012, 'rate-limited': 7020, 'disk-full': 7013, unavailable: 7014 },
    dropped: { overloaded: 7021, 'rate-limited': 7022, 'disk-full': 7023, unavailable: 7024 },
    clock: { ahead: 7025, behind: 7026 },
    misfits: { quarantined: 7027, tagged: 7028 },
    messageIdsForgotten: 7029,
    inFlight: 7015,
    queued: { lanes: 7030, items: 7031, bytes: 7032 },
    // Shown from the table of devices itself, which the status names too.
    devices: 0,
    devicesForgotten: 7016,
    snapshots: 7017,
    snapshotFailures: 7018,
  },
  mqtt: {
    connections: 7101,
    refused: 7102,
    connectionsRefused: 7103,
    malformed: 7104,
    timeouts: 7105,
    forwardDropped: 7106,
    retained: 7107,
    retainedRefused: 7108,
    queued: 7109,
    queueRefused: 7110,
    sessions: 7111,
    queueExpired: 7112,
    subscriptions: 7113,
    storeWaiting: 7114,
    storeFailures: 7115,
  },
  websocket: { connections: 7201, connectionsRefused: 7202 },
  connections: { open: 7301, addresses: 7302, refused: { total: 7303, address: 7304 } },
};

const stages = {
  windows: { late: 7401, ahead: 7402, flagged: 7403, overLimit: 7404, clockSteps: 7405 },
  sparkplug: {
    nodes: 7501,
    nodesOnline: 7502,
    devicesOnline: 7503,
    values: 7504,
    sequenceGaps: 7505,
    unknownAliases: 7506,
    withoutBirth: 7507,
    malformed: 7508,
    unreadBytes: 7509,
    unreadDefinitions: 7510,
    unreadMalformed: 7511,
    unreadTooLarge: 7512,
    unreadUntyped: 7513,
    unreadMissing: 7514,
    rebirthsRequested: 7515,
    nodesForgotten: 7516,
  },
};

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await startTestGateway({
    figures: ingest,
    stages,
    before: [reading('pump-1', { value: 1 })],
    plugins: [
      (app) => {
        app.get('/fails/:secret', async () => {
          throw new Error('as the test wants it');
        });
      },
    ],
  });
});

afterAll(() => gateway.close());

const numbersIn = (value: unknown): number[] =>
  typeof value === 'number' ? [value] : Object.values(value ?? {}).flatMap(numbersIn);

const metrics = async () => (await fetch(`${gateway.url}/metrics`)).text();

test('every figure of MQTT, WebSocket, admission, windows and Sparkplug is a sample of its own', async () => {
  const samples = [...(await metrics()).matchAll(/^(tidemark_\S+) (7\d{3})$/gm)];
  const shown = samples.map((match) => Number(match[2])).sort();
  expect(shown).toEqual(numbersIn([ingest, stages]).filter(Boolean).sort());
  expect(new Set(samples.map((match) => match[1])).size).toBe(samples.length);
});

test('names carry their unit, counters end in _total, each has a help', async () => {
  const text = await metrics();
  const own = [...text.matchAll(/^# TYPE (tidemark_(?!process_|nodejs_)\S+) (\w+)$/gm)];
  expect(own.length).toBeGreaterThan(40);
  for (const [, name, kind] of own) {
    expect({ name, total: name!.endsWith('_total') }).toEqual({ name, total: kind === 'counter' });
    expect(name).not.toMatch(/_(ms|mb|kb|millis)(_|$)/i);
    expect(text).toMatch(new RegExp(`^# HELP ${name} \\S.*\\.$`, 'm'));
  }
});

test('the status sums them up', async () => {
  const status = (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as Record<string, unknown>;
  expect(status.ingest).toEqual({
    mqtt: { connections: 7101, accepted: 7001, rejected: 7004 },
    http: { connections: 0, accepted: 7002, rejected: 7005 },
    websocket: { connections: 7201, accepted: 7003, rejected: 7006 },
  });
  expect(status.rejected).toEqual({ ...ingest.admission.rejected, ...ingest.admission.shed });
});

test('a request that fails inside is logged with its cause and its route, and told nothing of it', async () => {
  const response = await fetch(`${gateway.url}/fails/my-password`);
  expect([response.status, await response.json()]).toEqual([
    500,
    expect.objectContaining({ code: 'internal' }),
  ]);
  expect(gateway.logged).toEqual([
    expect.objectContaining({
      level: 50,
      method: 'GET',
      route: '/fails/:secret',
      err: expect.objectContaining({ message: 'as the test wants it', stack: expect.any(String) }),
    }),
  ]);
  expect(JSON.stringify(gateway.logged)).not.toContain('my-password');
});

test('what clients do wrong is not logged', async () => {
  const before = gateway.logged.length;
  for (const path of ['/none', '/api/v1/records/x', '/api/v1/records/99']) {
    expect((await fetch(`${gateway.url}${path}`)).status).toBeGreaterThanOrEqual(400);
  }
  expect(gateway.logged).toHaveLength(before);
});
