import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import mqtt from 'mqtt';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { MqttServer } from '../../../../gateway/ingest/mqtt/listener.ts';
import { Harness, type HarnessOptions } from '../../admission/harness.ts';
import { type GivenConfig, serve } from './serve.ts';
import { DISCONNECT, pubacks, publishPacket, pubrecs, pubrelPacket, Wire } from './wire.ts';

const run = promisify(execFile);
const TOPIC = 'plant/pump-1/vibration';

let harness: Harness;
let server: MqttServer;

async function start(config: GivenConfig = {}, options: HarnessOptions = {}): Promise<void> {
  harness = await Harness.open(options);
  server = await serve(harness, config);
}

afterEach(async () => {
  harness.disk.full = false;
  harness.disk.release();
  await server.close();
  await harness.remove();
});

const turn = () => new Promise((resolve) => setImmediate(resolve));
const payloads = async () => (await harness.records()).map(({ payload }) => Buffer.from(payload).toString());

const messageOf = (client: mqtt.MqttClient) =>
  new Promise<[string, Buffer]>((resolve) =>
    client.once('message', (topic, payload) => resolve([topic, payload])),
  );

/** Resolves when `condition` holds; the test's own time limit ends it otherwise. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('as devices use it', () => {
  beforeEach(() => start());

  test.each([0, 1, 2] as const)(
    'mqtt.js, QoS %d: stored byte for byte, client id as the device of last resort',
    async (qos) => {
      const client = await mqtt.connectAsync({
        port: server.port,
        host: '127.0.0.1',
        clientId: 'dev-9',
        protocolVersion: 4,
      });
      await client.publishAsync('x', Buffer.from([0, 255, 10]), { qos });
      await client.publishAsync(TOPIC, '{"value":1,"seq":3,"ts":1700000000000}', { qos });
      await client.endAsync();
      await until(() => harness.admission.figures().accepted.mqtt === 2);
      const [first, second] = await harness.records();
      expect(first).toMatchObject({ topic: 'x', device: 'dev-9', sequence: null, source: 1 });
      expect([...first!.payload]).toEqual([0, 255, 10]);
      expect(second).toMatchObject({ device: 'pump-1', sequence: 3, eventMs: 1_700_000_000_000 });
    },
  );

  test('mosquitto_pub and mosquitto_sub, all QoS', async () => {
    const port = String(server.port);
    const subscribed = run('mosquitto_sub', ['-p', port, '-q', '2', '-t', 'plant/#', '-C', '3', '-W', '10']);
    await until(() => server.figures().subscriptions === 1);
    for (const qos of ['0', '1', '2'])
      await run('mosquitto_pub', ['-p', port, '-q', qos, '-t', TOPIC, '-m', `{"value":${qos}}`]);
    const { stdout } = await subscribed;
    expect(stdout.trim().split('\n').sort()).toEqual(['{"value":0}', '{"value":1}', '{"value":2}']);
    expect(await payloads()).toEqual(['{"value":0}', '{"value":1}', '{"value":2}']);
  });

  test('a repeated record is acknowledged, stored once, and passed on to subscribers again', async () => {
    const client = await mqtt.connectAsync({ port: server.port, host: '127.0.0.1', protocolVersion: 4 });
    await client.subscribeAsync('plant/#', { qos: 1 });
    for (let time = 0; time < 2; time += 1) {
      const heard = messageOf(client);
      await client.publishAsync(TOPIC, '{"seq":1}', { qos: 1 });
      expect(String((await heard)[1])).toBe('{"seq":1}');
    }
    await client.endAsync();
    expect(await payloads()).toEqual(['{"seq":1}']);
    expect(harness.admission.figures()).toMatchObject({ accepted: { mqtt: 1 }, duplicates: 1 });
  });

  test('no PUBACK, PUBREC or forwarding while the sync is held back', async () => {
    const wire = await Wire.connected(server.port, 'c');
    harness.disk.hold();
    wire.socket.write(
      Buffer.concat([publishPacket(TOPIC, '1', { id: 1 }), publishPacket(TOPIC, '2', { id: 2, qos: 2 })]),
    );
    await harness.disk.syncAsked();
    for (let turns = 0; turns < 5; turns += 1) await turn();
    expect(wire.received).toHaveLength(0);
    harness.disk.release();
    expect(await wire.take(8)).toEqual(Buffer.concat([pubacks(1), pubrecs(2)]));
  });

  test('one chunk of publishes from one socket is synced together', async () => {
    const wire = await Wire.connected(server.port, 'c');
    harness.disk.hold();
    wire.socket.write(publishPacket(TOPIC, 'first', { id: 1000 }));
    await harness.disk.syncAsked();
    const wide = await Wire.connected(server.port, 'wide');
    const ids = Array.from({ length: 500 }, (_, at) => at + 1);
    wide.socket.write(Buffer.concat(ids.map((id) => publishPacket(TOPIC, `{"value":${id}}`, { id }))));
    await until(() => harness.admission.figures().inFlight === 501);
    const { batches } = harness.log.figures();
    harness.disk.release();
    expect(await wide.take(2000)).toEqual(pubacks(...ids));
    expect(harness.log.figures().batches - batches).toBeLessThanOrEqual(2);
  });

  test('[MQTT-4.3.3-2] a QoS 2 publish sent again before PUBREL is stored once, PUBREC each time', async () => {
    const wire = await Wire.connected(server.port, 'c');
    harness.disk.hold();
    const first = publishPacket(TOPIC, 'a', { qos: 2, id: 7 });
    wire.socket.write(Buffer.concat([first, publishPacket(TOPIC, 'a', { qos: 2, id: 7, dup: true })]));
    await harness.disk.syncAsked();
    harness.disk.release();
    expect(await wire.take(8)).toEqual(pubrecs(7, 7));
    wire.socket.write(publishPacket(TOPIC, 'a', { qos: 2, id: 7, dup: true }));
    expect(await wire.take(4)).toEqual(pubrecs(7));
    wire.socket.write(pubrelPacket(7));
    expect((await wire.take(4))[0]).toBe(0x70);
    wire.socket.write(publishPacket(TOPIC, 'b', { qos: 2, id: 7 }));
    expect(await wire.take(4)).toEqual(pubrecs(7));
    expect(await payloads()).toEqual(['a', 'b']);
  });

  test('a QoS 2 publish of a kept session sent again on a new connection is stored once', async () => {
    const before = await Wire.connected(server.port, 'c', { clean: false });
    before.socket.write(publishPacket(TOPIC, 'a', { qos: 2, id: 9 }));
    await before.take(4);
    before.socket.destroy();
    const after = await Wire.connected(server.port, 'c', { clean: false });
    after.socket.write(publishPacket(TOPIC, 'a', { qos: 2, id: 9, dup: true }));
    expect(await after.take(4)).toEqual(pubrecs(9));
    expect(await payloads()).toEqual(['a']);
  });

  test('a repeated sequence is acknowledged again and stored once', async () => {
    const wire = await Wire.connected(server.port, 'c');
    for (const id of [1, 2]) {
      wire.socket.write(publishPacket(TOPIC, '{"seq":1}', { id }));
      expect(await wire.take(4)).toEqual(pubacks(id));
    }
    expect(await payloads()).toEqual(['{"seq":1}']);
  });

  test('the will of a client that vanishes is published and logged; of one that disconnects it is not', async () => {
    const subscriber = await mqtt.connectAsync({ port: server.port, host: '127.0.0.1', protocolVersion: 4 });
    await subscriber.subscribeAsync('plant/#', { qos: 1 });
    const message = messageOf(subscriber);
    const will = { topic: 'plant/pump-1/status', payload: 'gone', qos: 1 };
    const polite = await Wire.connected(server.port, 'polite', { will });
    polite.socket.write(DISCONNECT);
    await polite.closed();
    const rude = await Wire.connected(server.port, 'rude', { will });
    rude.socket.resetAndDestroy();
    const [topic, payload] = await message;
    expect([topic, String(payload)]).toEqual(['plant/pump-1/status', 'gone']);
    expect(await harness.records()).toMatchObject([
      { topic: 'plant/pump-1/status', device: 'pump-1', source: 1 },
    ]);
    await subscriber.endAsync();
  });

  test('QoS 0 followed at once by DISCONNECT is stored', async () => {
    const wire = await Wire.connected(server.port, 'c');
    const messages = Array.from({ length: 300 }, (_, at) => publishPacket(TOPIC, String(at), { qos: 0 }));
    wire.socket.write(Buffer.concat([...messages, DISCONNECT]));
    await until(() => harness.admission.figures().accepted.mqtt === 300);
    expect((await payloads()).at(-1)).toBe('299');
  });

  test('a subscriber gets the QoS 1 message of a publisher that did not wait for its PUBACK', async () => {
    const subscriber = await mqtt.connectAsync({ port: server.port, host: '127.0.0.1', protocolVersion: 4 });
    await subscriber.subscribeAsync(TOPIC, { qos: 1 });
    const message = messageOf(subscriber);
    harness.disk.hold();
    const hasty = await Wire.connected(server.port, 'hasty');
    hasty.socket.write(publishPacket(TOPIC, 'hasty'));
    await harness.disk.syncAsked();
    hasty.socket.destroy();
    await until(() => server.figures().connections === 1);
    harness.disk.release();
    expect(String((await message)[1])).toBe('hasty');
    await subscriber.endAsync();
  });

  test('the broker’s own messages are no records', async () => {
    const subscriber = await mqtt.connectAsync({ port: server.port, host: '127.0.0.1', protocolVersion: 4 });
    await subscriber.subscribeAsync('$SYS/#');
    await mqtt
      .connectAsync({ port: server.port, host: '127.0.0.1', protocolVersion: 4 })
      .then((client) => client.endAsync());
    await subscriber.endAsync();
    expect(harness.admission.figures().accepted.mqtt).toBe(0);
    expect(await harness.records()).toEqual([]);
  });

  test('close answers what is in flight and logs the wills of those it parts from', async () => {
    const wire = await Wire.connected(server.port, 'c', {
      will: { topic: 'plant/c/status', payload: 'bye', qos: 0 },
    });
    harness.disk.hold();
    wire.socket.write(publishPacket(TOPIC, 'last', { id: 5 }));
    await harness.disk.syncAsked();
    const closed = server.close();
    harness.disk.release();
    await closed;
    expect(await wire.take(4)).toEqual(pubacks(5));
    await wire.closed();
    expect(await payloads()).toEqual(['last', 'bye']);
  });
});

describe('refusals', () => {
  test.each([
    ['$SYS/broker/x', 'bad-topic'],
    ['$share/a', 'bad-topic'],
    ['a\nb', 'bad-topic'],
  ])('a publish to %j closes the connection after the answers before it', async (topic, reason) => {
    await start();
    const wire = await Wire.connected(server.port, 'c');
    const publishes = [
      publishPacket(TOPIC, '1', { id: 1 }),
      publishPacket(topic, '2', { id: 2 }),
      publishPacket(TOPIC, '3', { id: 3 }),
    ];
    wire.socket.write(Buffer.concat(publishes));
    expect(await wire.take(4)).toEqual(pubacks(1));
    await wire.closed();
    expect(wire.received).toHaveLength(0);
    expect(harness.admission.figures().rejected['bad-topic']).toBe(1);
    expect(server.figures().refused).toBe(1);
    expect(harness.lines.all.filter(({ level }) => level === 'warn')).toMatchObject([
      { facts: { client: 'c', reason } },
    ]);
  });

  test('a QoS 2 publish cut off by an earlier refusal is taken when it is sent again', async () => {
    await start();
    const wire = await Wire.connected(server.port, 'c', { clean: false });
    harness.disk.hold();
    const again = { qos: 2, id: 3, dup: true } as const;
    wire.socket.write(
      Buffer.concat([
        publishPacket(TOPIC, '1', { id: 1 }),
        publishPacket('$x', '2', { id: 2 }),
        publishPacket(TOPIC, '3', { qos: 2, id: 3 }),
        publishPacket(TOPIC, '3', again),
      ]),
    );
    await harness.disk.syncAsked();
    harness.disk.release();
    await wire.closed();
    const back = await Wire.connected(server.port, 'c', { clean: false });
    back.socket.write(publishPacket(TOPIC, '3', again));
    expect(await back.take(4)).toEqual(pubrecs(3));
  });

  test('a packet too long is refused by its announced length', async () => {
    await start({ maxPacketBytes: 2048 });
    const wire = await Wire.connected(server.port, 'c');
    wire.socket.write(Buffer.from([0x32, 0xff, 0xff, 0x7f, 0, 1]));
    await wire.closed();
    expect(harness.admission.figures().rejected['too-large']).toBe(1);
    const other = await Wire.connected(server.port, 'd');
    other.socket.write(publishPacket(TOPIC, Buffer.alloc(2000)));
    expect(await other.take(4)).toEqual(pubacks(1));
  });

  test('a payload beyond ingest.maxPayloadBytes closes the connection', async () => {
    await start({}, { ingest: { maxPayloadBytes: 100 } });
    const wire = await Wire.connected(server.port, 'c');
    wire.socket.write(publishPacket(TOPIC, Buffer.alloc(101)));
    await wire.closed();
    expect(harness.admission.figures().rejected['too-large']).toBe(1);
  });

  test('[MQTT-3.1.2-2] a protocol level that is not known is answered with “unacceptable protocol version”', async () => {
    await start();
    const wire = await Wire.open(server.port);
    wire.socket.write(Buffer.from('101000044d5154540602003c000003616263', 'hex'));
    expect((await wire.take(4))[3]).toBe(1);
  });

  test('one connection too many, a silent one, a client id too long', async () => {
    await start({ maxConnections: 2, connectTimeoutMs: 100 });
    const silent = await Wire.open(server.port);
    await silent.closed();
    await expect(Wire.connected(server.port, 'x'.repeat(257))).rejects.toThrow('20020002');
    await until(() => server.figures().connections === 0);
    await Wire.connected(server.port, 'a');
    await Wire.connected(server.port, 'b');
    const third = await Wire.open(server.port);
    await third.closed();
    expect(server.figures()).toMatchObject({ connections: 2, timeouts: 1, connectionsRefused: 2 });
  });

  test('subscriptions beyond the limit are answered with 0x80', async () => {
    await start({ maxSubscriptions: 2 });
    const client = await mqtt.connectAsync({ port: server.port, host: '127.0.0.1', protocolVersion: 4 });
    await client.subscribeAsync(['a', 'b']);
    await expect(client.subscribeAsync('c')).rejects.toThrow();
    await client.unsubscribeAsync('a');
    await client.subscribeAsync('c');
    await client.endAsync();
  });

  test('a full disk holds publishes, and lets them through in order once there is room', async () => {
    await start();
    const wire = await Wire.connected(server.port, 'c');
    wire.socket.write(publishPacket(TOPIC, '0', { id: 9 }));
    await wire.take(4);
    harness.disk.full = true;
    wire.socket.write(Buffer.concat([1, 2, 3].map((id) => publishPacket(TOPIC, String(id), { id }))));
    await until(() => harness.admission.figures().shed['disk-full'] >= 3);
    expect(wire.received).toHaveLength(0);
    harness.disk.full = false;
    expect(await wire.take(12)).toEqual(pubacks(1, 2, 3));
    expect(await payloads()).toEqual(['0', '1', '2', '3']);
  });

  test('a disk full for longer closes the connection, with the reason in the log', async () => {
    await start({ overloadHoldMs: 50 });
    const wire = await Wire.connected(server.port, 'c');
    harness.disk.full = true;
    wire.socket.write(publishPacket(TOPIC, '1'));
    await wire.closed();
    expect(wire.received).toHaveLength(0);
    expect(harness.lines.all.at(-1)).toMatchObject({ facts: { reason: 'disk-full' } });
  });
});

describe('bounds of what is kept for clients', () => {
  test('retained messages', async () => {
    await start({ maxRetained: 2, maxRetainedBytes: 400 });
    const client = await mqtt.connectAsync({ port: server.port, host: '127.0.0.1', protocolVersion: 4 });
    for (const topic of ['r/1', 'r/2', 'r/3'])
      await client.publishAsync(topic, 'x', { qos: 1, retain: true });
    await client.publishAsync('r/1', 'y'.repeat(401), { qos: 1, retain: true });
    await client.publishAsync('r/2', '', { qos: 1, retain: true });
    await client.publishAsync('r/4', 'z', { qos: 1, retain: true });
    await until(() => server.figures().retained === 2);
    expect(server.figures()).toMatchObject({ retained: 2, retainedRefused: 2 });
    const got: string[] = [];
    client.on('message', (topic, payload) => got.push(`${topic}=${payload}`));
    await client.subscribeAsync('r/#');
    await until(() => got.length === 2);
    expect(got.sort()).toEqual(['r/1=x', 'r/4=z']);
    await client.endAsync();
  });

  test('messages for an absent subscriber', async () => {
    await start({ maxQueued: 3 });
    const options = {
      port: server.port,
      host: '127.0.0.1',
      clientId: 'absent',
      clean: false,
      protocolVersion: 4,
    } as const;
    const absent = await mqtt.connectAsync(options);
    await absent.subscribeAsync('q/#', { qos: 1 });
    await absent.endAsync();
    const client = await mqtt.connectAsync({ port: server.port, host: '127.0.0.1', protocolVersion: 4 });
    for (let at = 0; at < 5; at += 1) await client.publishAsync('q/x', String(at), { qos: 1 });
    await until(() => server.figures().queueRefused === 2);
    const got: string[] = [];
    const back = mqtt.connect(options);
    back.on('message', (_topic, payload) => got.push(String(payload)));
    await until(() => got.length === 3 && server.figures().queued === 0);
    expect(got).toEqual(['0', '1', '2']);
    await back.endAsync();
    await client.endAsync();
  });
});
