// The MQTT sink on real brokers: the sink contract in both MQTT versions, and what MQTT adds to it.
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { Aedes } from 'aedes';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { SOURCE } from '../../../ledger/format/record.ts';
import { MqttSink, type MqttSinkOptions } from '../../../sync/sinks/mqtt/sink.ts';
import { record, records, type SinkHarness, sinkContract } from '../../contract/sink.ts';
import { Collector } from '../collector.ts';
import { Gate } from '../gate.ts';
import { Mosquitto } from '../mosquitto.ts';

const never = new AbortController().signal;
const login = { username: 'gateway', password: 'correct horse' };

function mqttSink(url: string, options: Partial<MqttSinkOptions> = {}): MqttSink {
  return new MqttSink({
    url,
    clientId: `test-${Math.random().toString(16).slice(2)}`,
    protocolVersion: 5,
    topicPrefix: '',
    envelope: 'none',
    maxInFlight: 100,
    connectTimeoutMs: 5_000,
    ackTimeoutMs: 5_000,
    keepAliveSeconds: 30,
    credentials: async () => ({}),
    ...options,
  });
}

function mosquittoHarness(protocolVersion: 4 | 5): SinkHarness {
  let broker: Mosquitto;
  let gate: Gate;
  let collector: Collector;
  return {
    async start() {
      broker = await Mosquitto.start({ login });
      gate = new Gate(broker.port);
      await gate.open();
      collector = new Collector(broker.url, login);
      await collector.ready();
    },
    async stop() {
      await collector.stop();
      await gate.cut();
      await broker.stop();
    },
    sink: () => mqttSink(gate.url, { protocolVersion, credentials: async () => login }),
    refusedSink() {
      const secret = 'battery staple';
      const credentials = async () => ({ username: 'gateway', password: secret });
      return { sink: mqttSink(gate.url, { protocolVersion, credentials }), secret };
    },
    cut: () => gate.cut(),
    open: () => gate.open(),
    hold: () => gate.hold(),
    arrived: () => collector.texts(),
    forget: () => void collector.arrivals.splice(0),
    untilArrived: (count) => collector.until((arrivals) => arrivals.length >= count),
  };
}

sinkContract('MQTT 5 to mosquitto', mosquittoHarness(5));
sinkContract('MQTT 3.1.1 to mosquitto', mosquittoHarness(4));

describe('what MQTT carries', () => {
  let broker: Mosquitto;
  let collector: Collector;
  let sink: MqttSink;
  beforeAll(async () => {
    broker = await Mosquitto.start({ settings: ['max_inflight_messages 3'] });
    collector = new Collector(broker.url);
    await collector.ready();
  });
  afterAll(async () => {
    await collector.stop();
    await broker.stop();
  });
  afterEach(async () => {
    await sink.close();
    collector.arrivals.splice(0);
  });

  test('MQTT 5 carries offset, device, time and counter as user properties, and the payload byte for byte', async () => {
    sink = mqttSink(broker.url, { topicPrefix: 'site-7/' });
    await sink.connect(never);
    expect(sink.version).toBe(5);
    const payload = Uint8Array.of(0, 255, 128, 10);
    await sink.send([record(17, { payload, contentType: 'application/octet-stream' })]);
    await collector.until((arrivals) => arrivals.length === 1);
    const [arrival] = collector.arrivals;
    expect(arrival!.topic).toBe('site-7/plant/pump-1/vibration');
    expect([...arrival!.payload]).toEqual([...payload]);
    expect(arrival!.properties.contentType).toBe('application/octet-stream');
    expect({ ...arrival!.properties.userProperties }).toEqual({
      'tidemark-offset': '17',
      'tidemark-event-ms': '1763600000017',
      'tidemark-source': 'mqtt',
      'tidemark-device': 'pump-1',
      'tidemark-sequence': '17',
    });
  });

  test('a derived record loses the $ of its topic, which brokers keep for themselves', async () => {
    sink = mqttSink(broker.url);
    await sink.connect(never);
    await sink.send([
      record(1, { topic: '$tidemark/windows/minute', source: SOURCE.window, sequence: null, device: '' }),
    ]);
    await collector.until((arrivals) => arrivals.length === 1);
    expect(collector.arrivals[0]!.topic).toBe('tidemark/windows/minute');
    expect(Object.keys({ ...collector.arrivals[0]!.properties.userProperties })).not.toContain(
      'tidemark-device',
    );
  });

  test('the JSON envelope keeps every digit of a JSON payload, and carries other bytes as base64', async () => {
    sink = mqttSink(broker.url, { envelope: 'json', protocolVersion: 4 });
    await sink.connect(never);
    const exact = '{"value":0.10000000000000000001, "n":12345678901234567890}';
    await sink.send([
      record(1, { payload: new TextEncoder().encode(exact) }),
      record(2, { payload: Uint8Array.of(0xff, 0xfe) }),
      record(3, { payload: new Uint8Array() }),
    ]);
    await collector.until((arrivals) => arrivals.length === 3);
    const [json, bytes, empty] = collector.texts();
    expect(json).toContain(`"payload":${exact}}`);
    expect(JSON.parse(json!)).toMatchObject({
      offset: 1,
      device: 'pump-1',
      topic: 'plant/pump-1/vibration',
      sequence: 1,
      source: 'mqtt',
    });
    expect(JSON.parse(bytes!)).toMatchObject({ offset: 2, payloadBase64: '//4=' });
    expect(JSON.parse(empty!)).toMatchObject({ offset: 3, payloadBase64: '' });
  });

  test("the broker's receive maximum bounds what is in flight [MQTT5 §4.9]", async () => {
    sink = mqttSink(broker.url, { maxInFlight: 1000 });
    await sink.connect(never);
    await sink.send(records(0, 200));
    await collector.until((arrivals) => arrivals.length === 200);
    expect(collector.texts()).toEqual(
      records(0, 200).map((entry) => new TextDecoder().decode(entry.payload)),
    );
  });

  test('a broker that stops answering counts as lost', async () => {
    sink = mqttSink(broker.url, { ackTimeoutMs: 200 });
    await sink.connect(never);
    broker.freeze();
    try {
      await expect(sink.send(records(0, 1))).rejects.toMatchObject({ code: 'LOST' });
    } finally {
      broker.resume();
    }
  });
});

describe('brokers that do not speak MQTT 5', () => {
  test('aedes 1: falls back to 3.1.1', async () => {
    const aedes = await Aedes.createBroker();
    const server = createServer(aedes.handle).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const sink = mqttSink(`mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`);
    await sink.connect(never);
    expect(sink.version).toBe(4);
    await sink.send(records(0, 10));
    await sink.close();
    server.close();
    await new Promise<void>((resolve) => aedes.close(() => resolve()));
  });
});
