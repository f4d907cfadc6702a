// The demo's central broker, with clients of another maker: both versions, every QoS, and bytes that are no MQTT.
import { once } from 'node:events';
import { connect } from 'node:net';
import mqtt from 'mqtt';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CentralBroker, startCentralBroker } from '../../firmware-sim/central-broker.ts';

let broker: CentralBroker;
beforeEach(async () => {
  broker = await startCentralBroker();
});
afterEach(() => broker.close());

test.each([4, 5] as const)('acknowledges and passes on, in version %d', async (protocolVersion) => {
  const listener = await mqtt.connectAsync(broker.url, { protocolVersion, reconnectPeriod: 0 });
  const heard: string[] = [];
  const all = new Promise<void>((resolve) => {
    listener.on('message', (topic, payload) => {
      heard.push(`${topic}=${payload}`);
      if (heard.length === 3) resolve();
    });
  });
  await listener.subscribeAsync(['demo/+/x', 'demo/deep/#']);
  const publisher = await mqtt.connectAsync(broker.url, { protocolVersion, reconnectPeriod: 0 });
  await publisher.publishAsync('demo/a/x', '0', { qos: 0 });
  await publisher.publishAsync('demo/a/y', 'unheard', { qos: 1 });
  await publisher.publishAsync('demo/a/x', '1', { qos: 1 });
  await publisher.publishAsync('demo/deep/b/c', '2', { qos: 2 });
  await all;
  expect(heard).toEqual(['demo/a/x=0', 'demo/a/x=1', 'demo/deep/b/c=2']);
  await listener.unsubscribeAsync('demo/+/x');
  await publisher.endAsync();
  await listener.endAsync();
});

test('bytes that are no MQTT end the connection, and nothing else', async () => {
  const socket = connect(Number(new URL(broker.url).port), '127.0.0.1');
  const closed = once(socket, 'close');
  socket.on('error', () => {});
  socket.write(Buffer.from('GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff\xff', 'latin1'));
  await closed;
  const client = await mqtt.connectAsync(broker.url, { reconnectPeriod: 0 });
  await client.endAsync();
});
