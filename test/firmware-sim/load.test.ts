// The load mode: every record numbered, sent and counted once; latency from when it was due, not from when it could be sent.
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import mqttPacket from 'mqtt-packet';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runLoad } from '../../firmware-sim/load.ts';
import { SmallGateway } from './small-gateway.ts';

let gateway: SmallGateway;
beforeEach(async () => {
  gateway = new SmallGateway();
  await gateway.start();
});
afterEach(() => gateway.kill());

const options = {
  connections: 3,
  inFlight: 20,
  rate: 0,
  seconds: 0.5,
  payloadBytes: 120,
  signal: new AbortController().signal,
};

test('as fast as acknowledgements come: each connection numbers its records without a gap, of the size asked for', async () => {
  const report = await runLoad({ ...options, mqttUrl: gateway.endpoints.mqttUrl });
  expect(report).toMatchObject({ unanswered: 0, problems: [], gateway: null });
  expect(report.acked).toBe(report.sent);
  expect(gateway.records.length).toBe(report.sent);
  expect(report.latencyMs.count).toBe(report.sent);
  for (const [, own] of Map.groupBy(gateway.records, ({ device }) => device)) {
    expect(own.length).toBeGreaterThanOrEqual(20);
    expect(own.map(({ sequence }) => sequence)).toEqual(own.map((_, index) => 100_000_000_000 + index));
    expect(own.every(({ payload }) => payload.length === 120)).toBe(true);
  }
});

test('at a rate: so many records are due, and no more are sent', async () => {
  const report = await runLoad({ ...options, mqttUrl: gateway.endpoints.mqttUrl, rate: 400 });
  expect(report).toMatchObject({ unanswered: 0, problems: [] });
  expect(report.sent).toBe(200);
  expect(gateway.records.length).toBe(report.sent);
});

test('a gateway that stands still is charged for every record that was due meanwhile', async () => {
  const sockets = new Set<Socket>();
  let held: (() => void)[] | null = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    const parser = mqttPacket.parser();
    parser.on('packet', (packet) => {
      if (packet.cmd === 'connect') socket.write(Buffer.from([0x20, 2, 0, 0]));
      if (packet.cmd !== 'publish') return;
      const answer = () =>
        void socket.write(Buffer.from([0x40, 2, packet.messageId! >> 8, packet.messageId! & 255]));
      if (held?.length === 0)
        setTimeout(() => {
          for (const late of held ?? []) late();
          held = null;
        }, 400);
      if (held) held.push(answer);
      else answer();
    });
    socket.on('data', (data) => parser.parse(data));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const mqttUrl = `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`;
  // Five in flight: without the stall's own clock only those five would look slow.
  const report = await runLoad({ ...options, mqttUrl, connections: 1, inFlight: 5, rate: 100 });
  for (const socket of sockets) socket.destroy();
  server.close();
  expect(report.unanswered).toBe(0);
  expect(report.acked).toBe(50);
  expect(report.latencyMs.p50).toBeGreaterThan(100);
});

test('a connection that the gateway ends is a problem in the report', async () => {
  gateway.verdict = () => 'refuse';
  const report = await runLoad({ ...options, mqttUrl: gateway.endpoints.mqttUrl });
  expect(report.acked).toBe(0);
  expect(report.problems).toEqual(['closed by the gateway']);
});
