// A Sparkplug edge node on MQTT.js against the real gateway: names from births, a rebirth on request, and all of it
// again after a restart. The payloads stay as they were sent.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterEach, expect, test, vi } from 'vitest';
import { bdSeq, encode, tahu } from '../gateway/sparkplug/payloads.ts';
import { type Gateway, startGateway } from '../support/processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'tidemark-sparkplug-'));
let gateway: Gateway;
let node: MqttClient;
afterEach(async () => {
  node?.end(true);
  await gateway?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

const yaml = 'sparkplug: { enabled: true }\nmodels: []\n';
const start = () => startGateway({ dataDir: join(folder, 'data'), yaml });

const commands: Buffer[] = [];
async function connectNode(): Promise<void> {
  const will = {
    topic: 'spBv1.0/G/NDEATH/E',
    payload: encode({ metrics: [bdSeq(1)] }),
    qos: 1 as const,
    retain: false,
  };
  node = await connectAsync(`mqtt://127.0.0.1:${gateway.mqttPort}`, {
    clientId: 'edge',
    will,
    reconnectPeriod: 0,
  });
  node.on('message', (_topic, payload) => commands.push(payload));
  await node.subscribeAsync('spBv1.0/G/NCMD/E', { qos: 1 });
}

const birth = encode({
  timestamp: Date.now(),
  seq: 0,
  metrics: [bdSeq(1), { name: 'Temperature', alias: 1, type: 'Double', value: 20 }],
});
const data = (seq: number, value: number) =>
  encode({ timestamp: Date.now(), seq, metrics: [{ alias: 1, type: 'Double', value }] });
const publish = (type: string, payload: Buffer) =>
  node.publishAsync(`spBv1.0/G/${type}/E`, payload, { qos: 1 });

interface RecordJson {
  topic: string;
  device: string;
  payload: string;
}
async function records(query: string): Promise<RecordJson[]> {
  const response = await fetch(`${gateway.url}/api/v1/records?limit=1000&${query}`);
  return ((await response.json()) as { records: RecordJson[] }).records;
}
const bytesOf = ({ payload }: RecordJson) => Buffer.from(payload, 'base64');
const named = async () =>
  (await records('topic=$tidemark/sparkplug/G/E')).map(
    (record) => JSON.parse(bytesOf(record).toString()) as object,
  );
const figures = async () => {
  const status = (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as {
    stages: Record<string, Record<string, number>>;
  };
  return status.stages.sparkplug!;
};
const until = (check: () => Promise<void>) => vi.waitFor(check, { timeout: 30_000, interval: 100 });

test('an edge node without a birth is asked for it; its metrics are named then, and after a restart still', async () => {
  gateway = await start();
  await connectNode();
  const early = data(9, 1);
  await publish('NDATA', early);
  await until(async () => expect(commands).toHaveLength(1));
  expect(tahu.decodePayload(commands[0]!).metrics).toEqual([
    expect.objectContaining({ name: 'Node Control/Rebirth', value: true }),
  ]);
  await publish('NBIRTH', birth);
  await publish('NDATA', data(1, 21.5));
  await until(async () => expect(await named()).toEqual([{ Temperature: 20 }, { Temperature: 21.5 }]));
  const [raw] = await records('topic=spBv1.0/G/NDATA/E');
  expect(raw?.device).toBe('G/E');
  expect(bytesOf(raw!).equals(early)).toBe(true);
  await until(async () =>
    expect(await figures()).toMatchObject({
      nodesOnline: 1,
      withoutBirth: 1,
      rebirthsRequested: 1,
      values: 2,
    }),
  );
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  expect(metrics).toMatch(/^tidemark_sparkplug_nodes_online 1$/m);

  await node.endAsync();
  expect((await gateway.kill('SIGTERM')).code).toBe(0);
  gateway = await start();
  await connectNode();
  await publish('NDATA', data(2, 23));
  await until(async () =>
    expect(await named()).toEqual([{ Temperature: 20 }, { Temperature: 21.5 }, { Temperature: 23 }]),
  );
  // The connection ends without DISCONNECT: the will is the node's death.
  node.stream.destroy();
  await until(async () =>
    expect(await figures()).toMatchObject({ nodesOnline: 0, deaths: 1, sequenceGaps: 0 }),
  );
}, 120_000);
