// What clients may rely on after a restart: sessions, subscriptions, queues, retained messages and QoS 2 identifiers,
// after a proper end of the adapter and after kill -9 of the whole gateway.
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import mqtt from 'mqtt';
import { afterEach, expect, test } from 'vitest';
import { backup } from '../../../../gateway/backup/backup.ts';
import { startGateway } from '../../../support/processes.ts';
import { Harness } from '../../admission/harness.ts';
import { serve } from './serve.ts';
import { connectPacket, DISCONNECT, publishPacket, pubrecs, pubrelPacket, Wire } from './wire.ts';

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

const kept = (port: number, protocolVersion: 4 | 5 = 5): mqtt.IClientOptions => ({
  host: '127.0.0.1',
  port,
  protocolVersion,
  clientId: 'kept',
  clean: false,
  reconnectPeriod: 0,
  ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 3_600 } } : {}),
});

/** What `options` receives on connecting until `count` messages have come. */
async function arrivals(options: mqtt.IClientOptions, count: number): Promise<string[]> {
  const got: string[] = [];
  const client = mqtt.connect(options);
  client.on('message', (topic, payload, { retain, qos }) =>
    got.push(`${topic}=${payload} qos${qos}${retain ? ' retained' : ''}`),
  );
  await until(() => got.length >= count);
  await client.endAsync();
  return got;
}

test.each([4, 5] as const)(
  'an end and a new start keep a session of protocol version %d',
  async (version) => {
    const harness = await Harness.open();
    cleanups.push(() => harness.remove());
    let server = await serve(harness);
    const client = await mqtt.connectAsync(kept(server.port, version));
    await client.subscribeAsync({ 'q/#': { qos: 2 }, 'other/#': { qos: 1 } });
    await client.unsubscribeAsync('other/#');
    await client.endAsync();
    const publisher = await mqtt.connectAsync({ host: '127.0.0.1', port: server.port, protocolVersion: 4 });
    await publisher.publishAsync('q/1', 'one', { qos: 1 });
    await publisher.publishAsync('q/2', 'two', { qos: 2, retain: true });
    await publisher.publishAsync('other/1', 'not wanted', { qos: 1 });
    await publisher.endAsync();
    await server.close();
    server = await serve(harness);
    cleanups.push(() => server.close());
    expect(server.figures()).toMatchObject({ sessions: 1, subscriptions: 1, queued: 2, retained: 1 });
    expect(await arrivals(kept(server.port, version), 2)).toEqual(['q/1=one qos1', 'q/2=two qos2']);
    await until(() => server.figures().queued === 0 && server.figures().storeWaiting === 0);
    // What has been acknowledged does not come again after another start.
    await server.close();
    server = await serve(harness);
    expect(server.figures()).toMatchObject({ sessions: 1, queued: 0, retained: 1 });
  },
);

test('a session whose time is over is forgotten, with all that was kept for it', async () => {
  const harness = await Harness.open();
  cleanups.push(() => harness.remove());
  const server = await serve(harness, { maxSessionExpirySeconds: 1 });
  cleanups.push(() => server.close());
  const client = await mqtt.connectAsync(kept(server.port, 4));
  await client.subscribeAsync('q/#', { qos: 1 });
  await client.endAsync();
  const publisher = await mqtt.connectAsync({ host: '127.0.0.1', port: server.port, protocolVersion: 4 });
  await publisher.publishAsync('q/1', 'one', { qos: 1 });
  await until(() => server.figures().sessions === 0);
  expect(server.figures()).toMatchObject({ subscriptions: 0, queued: 0 });
  await publisher.endAsync();
});

test('a sessions.db that the machine does not let be opened now stays where it is, and nothing starts without it', async () => {
  const harness = await Harness.open();
  cleanups.push(() => harness.remove());
  const first = await serve(harness);
  const client = await mqtt.connectAsync(kept(first.port));
  await client.subscribeAsync('q/#', { qos: 1 });
  await client.endAsync();
  await first.close();
  // As on a full disk: SQLite cannot make the files it needs beside it.
  mkdirSync(join(harness.dataDir, 'sessions.db-wal'));
  await expect(serve(harness)).rejects.toThrow(/sessions\.db cannot be opened now .*disk full/);
  expect(existsSync(join(harness.dataDir, 'sessions.db.damaged'))).toBe(false);
  rmdirSync(join(harness.dataDir, 'sessions.db-wal'));
  const second = await serve(harness);
  cleanups.push(() => second.close());
  expect(second.figures()).toMatchObject({ sessions: 1, subscriptions: 1 });
});

test('a sessions.db that cannot be read is set aside, and said so; a backup holds a sound one', async () => {
  const harness = await Harness.open();
  cleanups.push(() => harness.remove());
  writeFileSync(join(harness.dataDir, 'sessions.db'), 'x'.repeat(8_192));
  const server = await serve(harness);
  cleanups.push(() => server.close());
  expect(harness.lines.all.filter(({ level }) => level === 'error')).toHaveLength(1);
  expect(existsSync(join(harness.dataDir, 'sessions.db.damaged'))).toBe(true);
  const client = await mqtt.connectAsync(kept(server.port));
  await client.subscribeAsync('q/#', { qos: 1 });
  await client.endAsync();
  const target = join(harness.dataDir, 'backup');
  const { manifest } = await backup({ dataDir: harness.dataDir, target, nowMs: 1 });
  const copied = manifest.files.find(({ path }) => path === 'sessions.db');
  const copy = new Database(join(target, 'objects', copied!.sha256.slice(0, 2), copied!.sha256), {
    readonly: true,
  });
  expect(copy.prepare('SELECT client, filter FROM subscriptions').all()).toEqual([
    { client: 'kept', filter: 'q/#' },
  ]);
  copy.close();
});

test('kill -9 loses neither session nor queue nor retained message, and stores a QoS 2 publish once', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-mqtt-kill-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const dataDir = join(folder, 'data');
  const yaml = 'windows: []\nmodels: []\n';
  let gateway = await startGateway({ dataDir, yaml });
  cleanups.push(() => gateway.kill('SIGKILL'));
  const client = await mqtt.connectAsync(kept(gateway.mqttPort));
  await client.subscribeAsync('q/#', { qos: 1 });
  await client.endAsync();
  const device = await Wire.connected(gateway.mqttPort, 'device', { clean: false });
  device.socket.write(publishPacket('q/x', 'once', { qos: 2, id: 9, retain: true }));
  expect(await device.take(4)).toEqual(pubrecs(9));
  // Before PUBREC its identifier was on disk; the queue and the retained message follow within moments.
  await until(() => {
    const database = new Database(join(dataDir, 'sessions.db'), { readonly: true });
    const rows = (table: string) =>
      (database.prepare(`SELECT count(*) AS n FROM ${table}`).get() as { n: number }).n;
    const stored = rows('deliveries') === 1 && rows('retained') === 1 && rows('incoming') === 1;
    database.close();
    return stored;
  });
  await gateway.kill('SIGKILL');
  gateway = await startGateway({ dataDir, yaml });
  const again = await Wire.connected(gateway.mqttPort, 'device', { clean: false });
  again.socket.write(publishPacket('q/x', 'once', { qos: 2, id: 9, retain: true, dup: true }));
  expect(await again.take(4)).toEqual(pubrecs(9));
  again.socket.write(pubrelPacket(9));
  expect((await again.take(4))[0]).toBe(0x70);
  again.socket.destroy();
  expect(await arrivals(kept(gateway.mqttPort), 1)).toEqual(['q/x=once qos1']);
  const status = (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as { log: { end: number } };
  const records = (await (await fetch(`${gateway.url}/api/v1/records?topic=q/x&limit=10`)).json()) as {
    records: unknown[];
  };
  expect(status.log.end).toBeGreaterThan(0);
  expect(records.records).toHaveLength(1);
  const late = await mqtt.connectAsync({ host: '127.0.0.1', port: gateway.mqttPort, protocolVersion: 5 });
  const retained = new Promise<string>((resolve) =>
    late.once('message', (_topic, payload, { retain }) => resolve(`${payload} ${retain}`)),
  );
  await late.subscribeAsync('q/+');
  expect(await retained).toBe('once true');
  await late.endAsync();
});

/** A client with a will that says nothing more. */
function withWill(port: number, clientId: string, properties?: { willDelayInterval?: number }) {
  return mqtt.connectAsync({
    host: '127.0.0.1',
    port,
    clientId,
    protocolVersion: 5,
    clean: false,
    reconnectPeriod: 0,
    properties: { sessionExpiryInterval: 3_600 },
    will: {
      topic: `wills/${clientId}`,
      payload: Buffer.from(`${clientId} is gone`),
      qos: 1,
      retain: true,
      properties: { ...properties, contentType: 'text/plain', userProperties: { hall: '7' } },
    },
  });
}

/** The rows of `table`; none while the file cannot be read. */
function rowsOf(dataDir: string, table: string): Record<string, unknown>[] {
  const database = new Database(join(dataDir, 'sessions.db'), { readonly: true });
  try {
    return database.prepare(`SELECT * FROM ${table}`).all() as Record<string, unknown>[];
  } finally {
    database.close();
  }
}

test('[MQTT5-3.1.3-9] a will that waits survives an end and a new start, and goes when its client is back', async () => {
  const harness = await Harness.open();
  cleanups.push(() => harness.remove());
  let server = await serve(harness);
  const waits = await withWill(server.port, 'waits', { willDelayInterval: 1 });
  const returns = await withWill(server.port, 'returns', { willDelayInterval: 3_600 });
  waits.stream.destroy();
  returns.stream.destroy();
  await until(() => server.figures().connections === 0);
  await server.close();
  expect(rowsOf(harness.dataDir, 'wills').map(({ client }) => client)).toEqual(['waits', 'returns']);
  server = await serve(harness);
  cleanups.push(() => server.close());
  const back = await mqtt.connectAsync({ ...kept(server.port), clientId: 'returns' });
  await until(() => rowsOf(harness.dataDir, 'wills').length === 0);
  const records = await harness.records();
  expect(records.map(({ topic, payload }) => `${topic} ${Buffer.from(payload)}`)).toEqual([
    'wills/waits waits is gone',
  ]);
  await back.endAsync();
});

test('a will is on disk before CONNACK, and what follows comes after it', async () => {
  const harness = await Harness.open();
  cleanups.push(() => harness.remove());
  const server = await serve(harness);
  cleanups.push(() => server.close());
  const clients = Array.from({ length: 20 }, async (_, at) => {
    const client = await Wire.connected(server.port, `c${at}`, {
      will: { topic: `wills/${at}`, payload: 'gone', qos: 1 },
    });
    expect(rowsOf(harness.dataDir, 'wills').map(({ client: id }) => id)).toContain(`c${at}`);
    client.socket.destroy();
  });
  await Promise.all(clients);
  const hasty = await Wire.open(server.port);
  const will = { topic: 'wills/hasty', payload: 'gone', qos: 1 } as const;
  hasty.socket.write(
    Buffer.concat([connectPacket('hasty', { will }), publishPacket('a/b', '1', { qos: 1, id: 7 })]),
  );
  expect([...(await hasty.take(8))]).toEqual([0x20, 2, 0, 0, 0x40, 2, 0, 7]);
  hasty.socket.destroy();
});

test('a database that cannot be written keeps nobody with a will from connecting', async () => {
  const harness = await Harness.open();
  cleanups.push(() => harness.remove());
  const server = await serve(harness);
  cleanups.push(() => server.close());
  await (await withWill(server.port, 'first')).endAsync();
  const database = new Database(join(harness.dataDir, 'sessions.db'));
  database.exec('BEGIN IMMEDIATE');
  const client = await withWill(server.port, 'second');
  expect(server.figures().storeFailures).toBeGreaterThan(0);
  database.exec('ROLLBACK');
  database.close();
  await until(() => rowsOf(harness.dataDir, 'wills').some(({ client: id }) => id === 'second'));
  await client.endAsync();
});

test('a will that is not what was written is damage found before anything of the file is taken for true', async () => {
  const harness = await Harness.open();
  cleanups.push(() => harness.remove());
  const first = await serve(harness);
  const waits = await withWill(first.port, 'waits', { willDelayInterval: 3_600 });
  await waits.subscribeAsync('q/#', { qos: 1 });
  waits.stream.destroy();
  await until(() => first.figures().connections === 0);
  await first.close();
  const database = new Database(join(harness.dataDir, 'sessions.db'));
  database.prepare("UPDATE wills SET properties = x'0518'").run();
  database.close();
  const second = await serve(harness);
  cleanups.push(() => second.close());
  expect(existsSync(join(harness.dataDir, 'sessions.db.damaged'))).toBe(true);
  expect(second.figures()).toMatchObject({ sessions: 0, subscriptions: 0 });
});

test('kill -9: the wills of those who were connected are published after the start, once, with their properties', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-mqtt-wills-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const dataDir = join(folder, 'data');
  const yaml = 'windows: []\nmodels: []\n';
  let gateway = await startGateway({ dataDir, yaml });
  cleanups.push(() => gateway.kill('SIGKILL'));
  const listener = await mqtt.connectAsync(kept(gateway.mqttPort));
  await listener.subscribeAsync('wills/#', { qos: 1 });
  await listener.endAsync();
  const clean = await Wire.connected(gateway.mqttPort, 'clean', {
    will: { topic: 'wills/clean', payload: 'clean is gone', qos: 1 },
  });
  const polite = await Wire.connected(gateway.mqttPort, 'polite', {
    will: { topic: 'wills/polite', payload: 'never', qos: 1 },
  });
  const clients = [
    await withWill(gateway.mqttPort, 'soon'),
    await withWill(gateway.mqttPort, 'late', { willDelayInterval: 1 }),
    await withWill(gateway.mqttPort, 'back', { willDelayInterval: 3_600 }),
  ];
  for (const client of clients) client.on('error', () => {});
  polite.socket.end(DISCONNECT);
  await polite.closed();
  // The polite one's is gone within moments.
  const held = ['back', 'clean', 'late', 'soon'].join();
  await until(
    () =>
      rowsOf(dataDir, 'wills')
        .map(({ client }) => client)
        .sort()
        .join() === held,
  );
  await gateway.kill('SIGKILL');
  await clean.closed();
  gateway = await startGateway({ dataDir, yaml });
  const back = await mqtt.connectAsync({ ...kept(gateway.mqttPort), clientId: 'back' });
  const heard = await arrivals(kept(gateway.mqttPort), 3);
  expect(heard.toSorted()).toEqual([
    'wills/clean=clean is gone qos1',
    'wills/late=late is gone qos1',
    'wills/soon=soon is gone qos1',
  ]);
  expect(heard.at(-1)).toContain('late');
  await until(() => rowsOf(dataDir, 'wills').length === 0);
  const { records } = (await (
    await fetch(`${gateway.url}/api/v1/records?topic=wills/soon&limit=10`)
  ).json()) as { records: { device: string; contentType: string; headers: unknown }[] };
  expect(records).toHaveLength(1);
  expect(records[0]).toMatchObject({ device: 'soon', contentType: 'text/plain' });
  expect(JSON.stringify(records[0]!.headers)).toContain('user.hall');
  // Another start publishes none of them again.
  await back.endAsync();
  await gateway.kill('SIGKILL');
  gateway = await startGateway({ dataDir, yaml });
  const all = (await (await fetch(`${gateway.url}/api/v1/records?limit=100`)).json()) as {
    records: { topic: string }[];
  };
  expect(all.records.map(({ topic }) => topic).filter((topic) => topic.startsWith('wills/'))).toHaveLength(3);
});
