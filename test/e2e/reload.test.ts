// Forwarders come and go with the configuration, while records keep coming in: none is lost, and the others go on.
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import { afterAll, expect, test, vi } from 'vitest';
import {
  type Broker,
  type Gateway,
  MOSQUITTO,
  startGateway,
  startMosquitto,
  tidemark,
} from '../support/processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'tidemark-reload-'));
const dataDir = join(folder, 'data');
const file = `${dataDir}.yaml`;
let gateway: Gateway | undefined;
let central: Broker | undefined;

afterAll(async () => {
  await gateway?.kill('SIGKILL');
  await central?.stop('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

test.skipIf(MOSQUITTO === null)(
  'a forwarder that is added starts at the first record, one that is taken away stops',
  async () => {
    central = await startMosquitto();
    gateway = await startGateway({ dataDir });
    const { url } = gateway;
    const heard: string[] = [];
    const upstream = await mqtt.connectAsync({ port: central.port });
    upstream.on('message', (_topic, payload) => heard.push(payload.toString()));
    await upstream.subscribeAsync('up/plant/#', { qos: 1 });
    let sent = 0;
    const send = async () => {
      sent += 1;
      const response = await fetch(`${url}/api/v1/ingest/plant/p/x`, { method: 'POST', body: String(sent) });
      expect(response.status).toBe(202);
    };
    const apply = async () => {
      const { code, stdout, stderr } = await tidemark(['config', 'apply', '--json', '--config', file]);
      expect([code, stderr]).toEqual([0, '']);
      return JSON.parse(stdout) as { applied: string[]; restart: string[] };
    };
    const forwarders = async () => {
      const status = (await (await fetch(`${url}/api/v1/status`)).json()) as { stages: object };
      return Object.keys(status.stages).filter((name) => name.startsWith('forwarder:'));
    };
    const without = readFileSync(file, 'utf8');
    for (let i = 0; i < 5; i += 1) await send();

    appendFileSync(
      file,
      `forwarders: [{name: central, type: mqtt, url: "mqtt://127.0.0.1:${central.port}", topicPrefix: up/}]\n`,
    );
    expect(await apply()).toEqual({ applied: ['forwarders'], restart: [] });
    await send();
    await vi.waitFor(() => expect(heard).toHaveLength(6), { timeout: 30_000, interval: 50 });
    expect(await forwarders()).toEqual(['forwarder:central']);

    writeFileSync(file, without);
    await apply();
    expect(await forwarders()).toEqual([]);
    await send();
    appendFileSync(
      file,
      `forwarders: [{name: central, type: mqtt, url: "mqtt://127.0.0.1:${central.port}", topicPrefix: up/}]\n`,
    );
    await apply();
    // From its cursor: what came meanwhile, once.
    await vi.waitFor(() => expect(heard.at(-1)).toBe('7'), { timeout: 30_000, interval: 50 });
    expect([...new Set(heard)]).toEqual(['1', '2', '3', '4', '5', '6', '7']);
    await upstream.endAsync();
  },
  120_000,
);
