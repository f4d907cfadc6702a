// MQTT 5 as devices use it: reasons on every refusal, properties kept with the record, who may do what.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import mqtt from 'mqtt';
import { afterEach, describe, expect, test } from 'vitest';
import { ANONYMOUS } from '../../../../gateway/access/anonymous.ts';
import type { Access, AccessVerdict, Credentials, Principal } from '../../../../gateway/access/types.ts';
import type { MqttServer } from '../../../../gateway/ingest/mqtt/listener.ts';
import { Harness, type HarnessOptions } from '../../admission/harness.ts';
import { type GivenConfig, serve } from './serve.ts';
import { packet, text, Wire } from './wire.ts';

const run = promisify(execFile);
const TOPIC = 'plant/pump-1/vibration';

let harness: Harness;
let server: MqttServer;

async function start(config: GivenConfig = {}, options: HarnessOptions = {}, access?: Access): Promise<void> {
  harness = await Harness.open(options);
  server = await serve(harness, config, access);
}

afterEach(async () => {
  harness.disk.full = false;
  harness.disk.release();
  await server.close();
  await harness.remove();
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

const connect = (options: mqtt.IClientOptions = {}) =>
  mqtt.connectAsync({
    host: '127.0.0.1',
    port: server.port,
    protocolVersion: 5,
    reconnectPeriod: 0,
    ...options,
  });

const u16 = (value: number) => [value >> 8, value & 0xff];

/** CONNECT of MQTT 5 by hand; `properties` with their length. */
const connect5 = (clientId: string, properties: number[] = [0], clean = true) =>
  packet(0x10, text('MQTT'), [5, clean ? 2 : 0, 0, 0], properties, text(clientId));

const publish5 = (topic: string, payload: string | Uint8Array, id: number, qos = 1, properties = [0]) =>
  packet(0x30 | (qos << 1), text(topic), qos > 0 ? u16(id) : [], properties, Buffer.from(payload));

async function connected5(clientId: string, properties?: number[], clean?: boolean): Promise<Wire> {
  const wire = await Wire.open(server.port);
  wire.socket.write(connect5(clientId, properties, clean));
  const connack = await wire.packet();
  if (connack?.[0] !== 0x20 || connack[3] !== 0) throw new Error(`refused: ${connack?.toString('hex')}`);
  return wire;
}

/** Reason code of the refusal that mqtt.js reports. */
async function reasonOf(work: Promise<unknown>): Promise<number> {
  const error = await work.then(
    () => null,
    (failure: Error & { code?: number }) => failure,
  );
  return error?.code ?? 0;
}

describe('what is kept of a publish', () => {
  test('properties become headers and content type, and subscribers get them as they were sent', async () => {
    await start();
    const subscriber = await connect();
    await subscriber.subscribeAsync('plant/#', { qos: 1, properties: { subscriptionIdentifier: 77 } });
    const heard = new Promise<mqtt.IPublishPacket>((resolve) =>
      subscriber.once('message', (_topic, _payload, received) => resolve(received)),
    );
    const publisher = await connect({ clientId: 'dev-5' });
    await publisher.publishAsync(TOPIC, '{"value":1}', {
      qos: 1,
      properties: {
        contentType: 'application/json',
        payloadFormatIndicator: true,
        responseTopic: 'answers/here',
        correlationData: Buffer.from([1, 2, 0]),
        messageExpiryInterval: 500,
        userProperties: { unit: 'mm/s', line: ['a', 'b'] },
      },
    });
    const { properties } = await heard;
    expect(properties).toMatchObject({
      contentType: 'application/json',
      responseTopic: 'answers/here',
      correlationData: Buffer.from([1, 2, 0]),
      subscriptionIdentifier: 77,
      userProperties: { unit: 'mm/s', line: ['a', 'b'] },
    });
    expect(properties!.messageExpiryInterval).toBeGreaterThan(400);
    const [record] = await harness.records();
    expect(record).toMatchObject({ contentType: 'application/json', device: 'pump-1' });
    const headers = Object.fromEntries(record!.headers.map(([name, value]) => [name, Buffer.from(value)]));
    expect(Object.keys(headers).sort()).toEqual([
      'mqtt.correlation-data',
      'mqtt.message-expiry',
      'mqtt.payload-format',
      'mqtt.response-topic',
      'user.line',
      'user.line#2',
      'user.unit',
    ]);
    expect(headers['user.line#2']!.toString()).toBe('b');
    expect([...headers['mqtt.correlation-data']!]).toEqual([1, 2, 0]);
    await Promise.all([publisher.endAsync(), subscriber.endAsync()]);
  });

  test('[MQTT5-3.3.2-8] a topic alias stands for its topic, in the record too', async () => {
    await start();
    const wire = await connected5('alias');
    wire.socket.write(
      Buffer.concat([publish5(TOPIC, '1', 1, 1, [3, 0x23, 0, 7]), publish5('', '2', 2, 1, [3, 0x23, 0, 7])]),
    );
    await wire.take(8);
    expect((await harness.records()).map(({ topic }) => topic)).toEqual([TOPIC, TOPIC]);
    wire.socket.write(publish5('', '3', 3, 1, [3, 0x23, 0, 8]));
    expect((await wire.packet())?.[0]).toBe(0xe0);
    await wire.closed();
  });

  test('mosquitto_pub and mosquitto_sub with MQTT 5, all QoS, shared subscription', async () => {
    await start();
    const port = String(server.port);
    const options = ['-V', 'mqttv5', '-p', port];
    const subscribed = run('mosquitto_sub', [
      ...options,
      '-q',
      '2',
      '-t',
      '$share/g/plant/#',
      '-C',
      '3',
      '-W',
      '20',
    ]);
    await until(() => server.figures().subscriptions === 1);
    for (const qos of ['0', '1', '2'])
      await run('mosquitto_pub', [
        ...options,
        '-q',
        qos,
        '-t',
        TOPIC,
        '-m',
        `{"value":${qos}}`,
        '-D',
        'publish',
        'user-property',
        'a',
        'b',
      ]);
    const { stdout } = await subscribed;
    expect(stdout.trim().split('\n').sort()).toEqual(['{"value":0}', '{"value":1}', '{"value":2}']);
    expect((await harness.records())[0]!.headers.map(([name]) => name)).toEqual(['user.a']);
  });
});

describe('answers', () => {
  test('no PUBACK, PUBREC or forwarding while the sync is held back', async () => {
    await start();
    const wire = await connected5('c');
    wire.socket.write(packet(0x82, [0, 9], [0], text('plant/#'), [0]));
    await wire.take(6);
    harness.disk.hold();
    wire.socket.write(Buffer.concat([publish5(TOPIC, '1', 1), publish5(TOPIC, '2', 2, 2)]));
    await harness.disk.syncAsked();
    for (let turns = 0; turns < 5; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(wire.received).toHaveLength(0);
    harness.disk.release();
    const got = new Set<number>();
    for (let packets = 0; packets < 4; packets += 1) got.add((await wire.packet())![0]!);
    expect([...got].sort()).toEqual([0x30, 0x40, 0x50]);
  });

  test('each refusal has its reason code, and the connection goes on', async () => {
    await start(
      { overloadHoldMs: 50 },
      { ingest: { maxPayloadBytes: 100 } },
      accessOf({ mayPublish: (topic) => topic !== 'not/mine' }),
    );
    const client = await connect();
    const publish = (topic: string, payload: string, properties = {}) =>
      reasonOf(client.publishAsync(topic, payload, { qos: 1, properties }));
    expect(await publish('not/mine', '1')).toBe(0x87);
    expect(await publish('$SYS/x', '1')).toBe(0x90);
    expect(await publish(TOPIC, 'x'.repeat(101))).toBe(0x83);
    const wire = await connected5('raw');
    wire.socket.write(publish5(TOPIC, Buffer.from([0xff]), 4, 1, [2, 1, 1]));
    expect((await wire.packet())!.subarray(0, 1)).toEqual(Buffer.from([0x40]));
    harness.disk.full = true;
    expect(await publish(TOPIC, '1')).toBe(0x97);
    harness.disk.full = false;
    await until(() => client.connected);
    expect(await publish(TOPIC, '2')).toBe(0);
    await client.endAsync();
    expect(server.figures().refused).toBe(5);
  });

  test('[MQTT5-3.3.4-9] more than the receive maximum ends the connection with 0x93', async () => {
    await start({ receiveMaximum: 3 });
    const wire = await connected5('c');
    harness.disk.hold();
    wire.socket.write(Buffer.concat([1, 2, 3, 4].map((id) => publish5(TOPIC, String(id), id))));
    expect((await wire.packet())?.toString('hex')).toBe('e00193');
    await wire.closed();
  });

  test('takeover is told with 0x8e, the gateway’s end with 0x8b', async () => {
    await start();
    const first = await connected5('same');
    const second = await connected5('same');
    expect((await first.packet())?.toString('hex')).toBe('e0018e');
    await first.closed();
    const closed = server.close();
    expect((await second.packet())?.toString('hex')).toBe('e0018b');
    await closed;
  });

  test('a packet that never ends, and a client that keeps still, are told 0x8d and closed', async () => {
    await start({ packetTimeoutMs: 200 });
    const wire = await connected5('slow');
    wire.socket.write(Buffer.from([0x32, 0x50, 0, 3]));
    expect((await wire.packet())?.toString('hex')).toBe('e0018d');
    await wire.closed();
    const still = await Wire.open(server.port);
    still.socket.write(packet(0x10, text('MQTT'), [5, 2, 0, 1, 0], text('still')));
    await still.packet();
    expect((await still.packet())?.toString('hex')).toBe('e0018d');
    expect(server.figures().timeouts).toBe(2);
  });

  test('[MQTT-3.1.3-8] a client without an id is given one, a retained message expires', async () => {
    await start();
    const wire = await Wire.open(server.port);
    wire.socket.write(connect5(''));
    expect(String(await wire.packet())).toContain('auto-');
    wire.socket.write(packet(0x33, text('r/1'), u16(1), [5, 0x02, 0, 0, 0, 1], Buffer.from('old')));
    await wire.packet();
    expect(server.figures().retained).toBe(1);
    const late = await connected5('late');
    while (server.figures().retained > 0) {
      late.socket.write(packet(0x82, [0, 9], [0], text('r/#'), [0]));
      while ((await late.packet())![0] !== 0x90);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(server.figures().retained).toBe(0);
  });
});

function accessOf(
  rights: Partial<Principal>,
  verdict?: (credentials: Credentials) => AccessVerdict | Promise<AccessVerdict>,
): Access & { change(name: string): void } {
  const listeners = new Set<(name: string) => void>();
  return {
    authenticate: verdict ?? (() => ({ principal: { ...ANONYMOUS, ...rights } })),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    change: (name) => {
      for (const listener of listeners) listener(name);
    },
  };
}

describe('who may', () => {
  const refused = { principal: null, code: 'bad-credentials', detail: 'no' } as const;
  /** The user's name is the password; answers later, as scrypt does. */
  const byPassword = (rights: Partial<Principal> = {}) =>
    accessOf({}, async ({ username = '', password }) => {
      await new Promise((resolve) => setImmediate(resolve));
      if (username !== String(password)) return refused;
      return { principal: { ...ANONYMOUS, anonymous: false, name: username, ...rights } };
    });

  test('wrong credentials are told 0x86; what follows CONNECT at once is heard after it', async () => {
    await start({}, {}, byPassword({ device: 'pump-9' }));
    expect(await reasonOf(connect({ username: 'a', password: 'b' }))).toBe(0x86);
    const wire = await Wire.open(server.port);
    wire.socket.write(
      Buffer.concat([
        packet(0x10, text('MQTT'), [5, 0xc2, 0, 0, 0], text('c'), text('ann'), text('ann')),
        publish5('any/thing/here', '1', 5),
      ]),
    );
    expect((await wire.packet())?.[0]).toBe(0x20);
    expect((await wire.packet())?.toString('hex')).toBe('40020005');
    expect(await harness.records()).toMatchObject([{ device: 'pump-9', topic: 'any/thing/here' }]);
  });

  test('a client id of another user is refused, and a change of rights ends the connection with 0x98', async () => {
    const access = byPassword();
    await start({}, {}, access);
    const ann = await connect({ clientId: 'x', username: 'ann', password: 'ann' });
    expect(await reasonOf(connect({ clientId: 'x', username: 'bob', password: 'bob' }))).toBe(0x87);
    const told = new Promise<number>((resolve) =>
      ann.once('disconnect', ({ reasonCode = 0 }) => resolve(reasonCode)),
    );
    access.change('bob');
    access.change('ann');
    expect(await told).toBe(0x98);
    await ann.endAsync(true);
  });

  test('a credential that expires ends the connection with 0xa0', async () => {
    await start({}, {}, byPassword({ expiresMs: Date.now() + 300 }));
    const client = mqtt.connect({
      host: '127.0.0.1',
      port: server.port,
      protocolVersion: 5,
      reconnectPeriod: 0,
      username: 'ann',
      password: 'ann',
    });
    const reason = await new Promise<number>((resolve) =>
      client.once('disconnect', ({ reasonCode = 0 }) => resolve(reasonCode)),
    );
    expect(reason).toBe(0xa0);
    await client.endAsync(true);
  });

  test('a subscription that may not be is answered 0x87, one of a will topic refuses CONNECT', async () => {
    await start({}, {}, accessOf({ maySubscribe: (filter) => filter === 'mine/#', mayPublish: () => false }));
    const wire = await connected5('c');
    wire.socket.write(
      packet(0x82, [0, 9], [0], text('mine/#'), [1], text('#'), [1], text('$share/g/#'), [1]),
    );
    expect((await wire.packet())?.toString('hex')).toBe('900600090001' + '8787');
    const will = { topic: 'a', payload: Buffer.from('x'), qos: 0, retain: false } as const;
    expect(await reasonOf(connect({ will }))).toBe(0x87);
  });
});

test('[MQTT-4.4.0-1] [MQTT5-3.3.4-9] a resumed client gets what is unacknowledged again, no more at once than it takes', async () => {
  await start();
  const receiveMaximum = (value: number) => [8, 0x11, 0, 0, 1, 0, 0x21, 0, value];
  const first = await connected5('kept', receiveMaximum(5));
  first.socket.write(packet(0x82, [0, 9], [0], text('plant/#'), [1]));
  await first.packet();
  const publisher = await connect();
  for (let at = 1; at <= 6; at += 1) await publisher.publishAsync(TOPIC, String(at), { qos: 1 });
  for (let at = 1; at <= 5; at += 1) expect((await first.packet())![0]).toBe(0x32);
  first.socket.destroy();
  await until(() => server.figures().connections === 1);
  const second = await connected5('kept', receiveMaximum(2), false);
  const payloads: string[] = [];
  const takes = async (firstByte: number) => {
    const publish = (await second.packet())!;
    expect(publish[0]).toBe(firstByte);
    payloads.push(String(publish.subarray(-1)));
  };
  await takes(0x3a);
  await takes(0x3a);
  second.socket.write(Buffer.from([0xc0, 0]));
  expect((await second.packet())![0]).toBe(0xd0);
  for (const id of [1, 2, 3, 4]) {
    second.socket.write(packet(0x40, u16(id)));
    await takes(id < 4 ? 0x3a : 0x32);
  }
  expect(payloads).toEqual(['1', '2', '3', '4', '5', '6']);
  await publisher.endAsync();
});

describe('fairness', () => {
  test('thousands of packets begun and not finished cannot fill memory: who holds most is closed', async () => {
    await start({ maxUnfinishedBytes: 64 * 1024 });
    const small = await connected5('small');
    small.socket.write(Buffer.concat([Buffer.from([0x30, 0x90, 0x4e]), Buffer.alloc(1_000)]));
    const large = await connected5('large');
    large.socket.write(Buffer.concat([Buffer.from([0x30, 0x80, 0x80, 8]), Buffer.alloc(70_000)]));
    expect((await large.packet())?.toString('hex')).toBe('e00197');
    await large.closed();
    await until(() => server.figures().connections === 1);
    expect(server.figures().timeouts).toBe(1);
    small.socket.destroy();
  });

  test('a subscriber that takes nothing loses QoS 0, counted, is closed, and holds nobody up', async () => {
    await start({ socketBufferBytes: 16 * 1024, subscriberDrainMs: 500 });
    const slow = await connected5('slow');
    slow.socket.write(packet(0x82, [0, 9], [0], text('plant/#'), [0]));
    await slow.packet();
    slow.socket.pause();
    const publisher = await connect();
    const payload = 'x'.repeat(32 * 1024);
    while (server.figures().forwardDropped === 0) await publisher.publishAsync(TOPIC, payload, { qos: 1 });
    await until(() => server.figures().timeouts === 1);
    await until(() => server.figures().connections === 1);
    await publisher.endAsync();
  });

  test('shared subscriptions take turns, and pass on what one leaves unread', async () => {
    await start();
    const one = await connect();
    const two = await connect();
    const counts = { one: 0, two: 0 };
    one.on('message', () => (counts.one += 1));
    two.on('message', () => (counts.two += 1));
    await one.subscribeAsync('$share/g/plant/#', { qos: 1 });
    await two.subscribeAsync('$share/g/plant/#', { qos: 1 });
    const publisher = await connect();
    for (let at = 0; at < 20; at += 1) await publisher.publishAsync(TOPIC, String(at), { qos: 1 });
    await until(() => counts.one + counts.two === 20);
    expect(counts).toEqual({ one: 10, two: 10 });
    await one.endAsync();
    for (let at = 0; at < 5; at += 1) await publisher.publishAsync(TOPIC, `b${at}`, { qos: 1 });
    await until(() => counts.two === 15);
    await Promise.all([two.endAsync(), publisher.endAsync()]);
  });
});
