// The same broker over WebSocket and TLS: acknowledgements after the sync there too, and who is turned away before MQTT.
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { ANONYMOUS } from '../../../../gateway/access/anonymous.ts';
import type { Access, ClientCertificate } from '../../../../gateway/access/types.ts';
import type { MqttServer } from '../../../../gateway/ingest/mqtt/listener.ts';
import { authority, certificate, noOpenssl } from '../../access/certificates.ts';
import { Harness } from '../../admission/harness.ts';
import { type GivenConfig, serve } from './serve.ts';
import { connectPacket, pubacks, publishPacket } from './wire.ts';

const TOPIC = 'plant/pump-1/vibration';
const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function start(
  config: GivenConfig,
  access?: Access,
): Promise<{ harness: Harness; server: MqttServer }> {
  const harness = await Harness.open();
  cleanups.push(() => harness.remove());
  const server = await serve(harness, config, access);
  cleanups.push(() => server.close());
  return { harness, server };
}

const bytesOf = async (socket: WebSocket) => Buffer.from((await once(socket, 'message'))[0] as Buffer);

test('WebSocket on a port of its own: no PUBACK while the sync is held back, packets cut over frames', async () => {
  const { harness, server } = await start({ webSocket: { enabled: true, port: 0 } });
  const socket = new WebSocket(`ws://127.0.0.1:${server.webSocketPort}/mqtt`, 'mqtt');
  await once(socket, 'open');
  expect(socket.protocol).toBe('mqtt');
  const connect = connectPacket('ws-1');
  socket.send(connect.subarray(0, 5));
  socket.send(connect.subarray(5));
  expect((await bytesOf(socket)).toString('hex')).toBe('20020000');
  harness.disk.hold();
  let answered = false;
  socket.once('message', () => (answered = true));
  socket.send(Buffer.concat([publishPacket(TOPIC, '1', { id: 1 }), publishPacket(TOPIC, '2', { id: 2 })]));
  await harness.disk.syncAsked();
  for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  expect(answered).toBe(false);
  const acks = bytesOf(socket);
  harness.disk.release();
  expect(await acks).toEqual(pubacks(1, 2));
  expect((await harness.records()).map(({ payload }) => String(Buffer.from(payload)))).toEqual(['1', '2']);
  socket.close();
});

test.each([4, 5] as const)(
  'mqtt.js over WebSocket on a server attached to, protocol version %d',
  async (version) => {
    const { harness, server } = await start({});
    const http = createServer();
    server.attach(http);
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    cleanups.push(() => http.close());
    const { port } = http.address() as AddressInfo;
    const client = await mqtt.connectAsync(`ws://127.0.0.1:${port}/mqtt`, { protocolVersion: version });
    const heard = new Promise<Buffer>((resolve) =>
      client.once('message', (_topic, payload) => resolve(payload)),
    );
    await client.subscribeAsync('plant/#', { qos: 2 });
    await client.publishAsync(TOPIC, Buffer.alloc(100_000, 7), { qos: 2 });
    expect(await heard).toHaveLength(100_000);
    await client.endAsync();
    expect(await harness.records()).toHaveLength(1);
    await expect(once(new WebSocket(`ws://127.0.0.1:${port}/elsewhere`, 'mqtt'), 'open')).rejects.toThrow(
      '404',
    );
  },
);

test('[MQTT-6.0.0-1] [MQTT-6.0.0-3] text frames, no subprotocol, and pages of another origin are refused', async () => {
  const { server } = await start({ webSocket: { enabled: true, port: 0 } });
  const url = `ws://127.0.0.1:${server.webSocketPort}/mqtt`;
  await expect(once(new WebSocket(url), 'open')).rejects.toThrow('400');
  const page = new WebSocket(url, 'mqtt', { origin: 'https://evil.example' });
  await expect(once(page, 'open')).rejects.toThrow('403');
  const socket = new WebSocket(url, 'mqtt');
  await once(socket, 'open');
  socket.send('CONNECT');
  expect((await once(socket, 'close'))[0]).toBe(1003);
});

test('a page that made its own name point here is refused when it shows no name', async () => {
  const { server } = await start({ webSocket: { enabled: true, port: 0 } });
  const socket = new WebSocket(`ws://127.0.0.1:${server.webSocketPort}/mqtt`, 'mqtt', {
    headers: { host: 'rebound.example' },
    origin: 'http://rebound.example',
  });
  await once(socket, 'open');
  socket.send(connectPacket('page'));
  expect((await bytesOf(socket)).toString('hex')).toBe('20020005');
});

test.skipIf(noOpenssl)(
  'TLS: acknowledged after the sync, the client’s certificate is shown to access',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-mqtt-tls-'));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    const ca = authority(folder, 'ca');
    const own = certificate(folder, 'gateway', ca);
    const theirs = certificate(folder, 'pump-7', ca);
    let shown: ClientCertificate | undefined;
    const access: Access = {
      authenticate: ({ certificate }) => {
        shown = certificate;
        return { principal: { ...ANONYMOUS, anonymous: false, device: certificate?.commonName ?? null } };
      },
      onChange: () => () => {},
    };
    const tls = {
      enabled: true,
      port: 0,
      cert: own.cert,
      key: own.key,
      ca: ca.cert,
      clientCertificates: 'require',
    };
    const { harness, server } = await start({ tls }, access);
    const options = {
      host: '127.0.0.1',
      port: server.tlsPort!,
      protocol: 'mqtts',
      ca: readFileSync(ca.cert),
      reconnectPeriod: 0,
    } as const;
    const pair = { cert: readFileSync(theirs.cert), key: readFileSync(theirs.key) };
    const client = await mqtt.connectAsync({ ...options, ...pair });
    harness.disk.hold();
    let answered = false;
    const published = client.publishAsync(TOPIC, '1', { qos: 1 }).then(() => (answered = true));
    await harness.disk.syncAsked();
    for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(answered).toBe(false);
    harness.disk.release();
    await published;
    await client.endAsync();
    expect(shown?.commonName).toBe('pump-7');
    expect(await harness.records()).toMatchObject([{ device: 'pump-7' }]);
    await expect(mqtt.connectAsync(options)).rejects.toThrow();
  },
);
