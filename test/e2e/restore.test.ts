// A gateway's machine is lost: its last backup, made while it ran, is restored into another directory with the commands a person
// would use, and a gateway started there knows its records, its names, and what sleeping MQTT clients are owed.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { expect, onTestFinished, test } from 'vitest';
import { type Gateway, startGateway, tidemark } from '../support/processes.ts';

const client = (gateway: Gateway, options: IClientOptions): Promise<MqttClient> =>
  mqtt.connectAsync({ host: '127.0.0.1', port: gateway.mqttPort, reconnectPeriod: 0, ...options });

/** A client that keeps its session; what it is owed may come together with the answer to its CONNECT. */
const sleeper: IClientOptions = { clientId: 'sleeper', clean: false, protocolVersion: 4 };

async function published(gateway: Gateway, payloads: readonly string[]): Promise<void> {
  const publisher = await client(gateway, { clientId: 'pump-1' });
  for (const payload of payloads)
    await publisher.publishAsync('plant/alarm', payload, { qos: 1, retain: payload === 'high' });
  await publisher.endAsync();
}

test('backup while it runs, another machine, restore, start', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-restore-'));
  const alive: Gateway[] = [];
  onTestFinished(async () => {
    for (const gateway of alive) await gateway.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  const start = async (name: string): Promise<Gateway> => {
    const gateway = await startGateway({ dataDir: join(folder, name) });
    alive.push(gateway);
    return gateway;
  };

  const first = await start('first');
  const asleep = await client(first, sleeper);
  await asleep.subscribeAsync('plant/#', { qos: 1 });
  await asleep.endAsync();
  await published(first, ['low', 'high']);
  await expect.poll(async () => statusOf(first), { timeout: 30_000 }).toMatchObject({ sealed: 2 });
  const backup = join(folder, 'usb');
  const made = await tidemark(['backup', backup, '--with-key', '--data-dir', first.dataDir]);
  expect(made).toMatchObject({ code: 0, stderr: '' });
  await first.kill('SIGKILL');
  rmSync(first.dataDir, { recursive: true, force: true });

  const restored = join(folder, 'second');
  const done = await tidemark(['restore', backup, '--data-dir', restored]);
  expect(done).toMatchObject({ code: 0, stderr: '' });
  expect(done.stdout).toContain('offsets 0 to 1');
  expect((await tidemark(['audit', restored])).code).toBe(0);
  const second = await start('second');
  const owed: string[] = [];
  const awake = mqtt.connect({ host: '127.0.0.1', port: second.mqttPort, reconnectPeriod: 0, ...sleeper });
  awake.on('message', (_, payload) => owed.push(payload.toString()));
  const session = await new Promise<boolean>((resolve, reject) => {
    awake.once('connect', ({ sessionPresent }) => resolve(sessionPresent));
    awake.once('error', reject);
  });
  expect(session).toBe(true);
  await expect.poll(() => owed, { timeout: 30_000 }).toEqual(['low', 'high']);
  await awake.endAsync();
  const late = await client(second, { clientId: 'late' });
  const retained = new Promise((resolve) =>
    late.once('message', (_, payload) => resolve(payload.toString())),
  );
  await late.subscribeAsync('plant/alarm', { qos: 1 });
  expect(await retained).toBe('high');
  await late.endAsync();
  // The same chain goes on.
  await published(second, ['low again']);
  await expect.poll(async () => statusOf(second), { timeout: 30_000 }).toMatchObject({ sealed: 3 });
  const audited = JSON.parse((await tidemark(['audit', restored, '--json'])).stdout);
  expect(audited).toMatchObject({ verdict: 'clean', errors: 0, sealedEnd: 3 });
}, 180_000);

async function statusOf({ url }: Gateway): Promise<{ sealed: number }> {
  const { ledger } = (await (await fetch(`${url}/api/v1/status`)).json()) as { ledger: { sealed: number } };
  return ledger;
}
