import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { MqttServer } from '../../../../gateway/ingest/mqtt/listener.ts';
import { PacketStream } from '../../../../gateway/ingest/mqtt/packet-stream.ts';
import { PacketFault } from '../../../../gateway/ingest/mqtt/reason.ts';
import { Harness } from '../../admission/harness.ts';
import { serve } from './serve.ts';
import { connectPacket, packet, pubacks, publishPacket, pubrelPacket, text, Wire } from './wire.ts';

let harness: Harness;
let server: MqttServer;
beforeAll(async () => {
  harness = await Harness.open();
  server = await serve(harness, { maxPacketBytes: 4096, connectTimeoutMs: 500 });
});
afterAll(async () => {
  await server.close();
  await harness.remove();
});

async function stillServes(): Promise<void> {
  const wire = await Wire.connected(server.port, 'witness');
  wire.socket.write(publishPacket('plant/w/x', '1', { id: 1 }));
  expect(await wire.take(4)).toEqual(pubacks(1));
  wire.socket.destroy();
}

/** Sends the bytes, in two pieces, and waits until the gateway closes or has had its say. */
async function send(bytes: Uint8Array, cut: number): Promise<void> {
  const wire = await Wire.open(server.port);
  wire.socket.write(bytes.subarray(0, cut));
  wire.socket.end(bytes.subarray(cut));
  await wire.closed();
}

const good = [
  connectPacket('fuzz', { will: { topic: 'w/w', payload: 'x', qos: 1 } }),
  connectPacket('kept', { clean: false }),
  publishPacket('a/b', '{"seq":1}', { qos: 0 }),
  publishPacket('a/b', '{"seq":1}', { qos: 1, id: 4 }),
  publishPacket('a/b', '', { qos: 2, id: 5, retain: true }),
  pubrelPacket(5),
  packet(0x82, [0, 9], text('a/#'), [2]),
  packet(0x82, [0, 9], text('+/b'), [1], text('$SYS/#'), [0]),
  packet(0xa2, [0, 9], text('a/#')),
  packet(0x40, [0, 9]),
  packet(0x50, [0, 9]),
  packet(0x70, [0, 9]),
  Buffer.from([0xc0, 0]),
  Buffer.from([0xe0, 0]),
  packet(0xf0, [0]),
];

test('any bytes, and any valid packets with damage, harm nobody else', async () => {
  const damaged = fc
    .array(fc.constantFrom(...good), { minLength: 1, maxLength: 6 })
    .chain((packets) => {
      const bytes = Buffer.concat([...(packets.length % 2 ? [good[0]!] : []), ...packets]);
      const flips = fc.array(fc.tuple(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 255 })), {
        maxLength: 3,
      });
      return fc.tuple(fc.constant(bytes), flips);
    })
    .map(([bytes, flips]) => {
      const copy = Buffer.from(bytes);
      for (const [at, value] of flips) copy[at] = value;
      return copy;
    });
  const bytes = fc.oneof(
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 64 }) },
    { weight: 4, arbitrary: damaged },
  );
  await fc.assert(
    fc.asyncProperty(bytes, fc.nat({ max: 64 }), (chunk, cut) => send(chunk, cut)),
    { numRuns: 400 },
  );
  await stillServes();
  expect(harness.lines.all.filter(({ level }) => level === 'error')).toEqual([]);
});

test('the same packets and the same fault are found however the stream is cut', () => {
  const cut = (chunks: Uint8Array[]) => {
    const packets: string[] = [];
    const stream = new PacketStream(1000, (firstByte, bytes, start, end) => {
      packets.push(`${firstByte} ${bytes.toString('hex', start, end)}`);
      return true;
    });
    try {
      for (const chunk of chunks) stream.feed(Buffer.from(chunk));
    } catch (error) {
      if (!(error instanceof PacketFault)) throw error;
      packets.push(`fault ${error.code}`);
    }
    return packets;
  };
  const faults = (chunks: Uint8Array[]) => cut(chunks).filter((each) => each.startsWith('fault'));
  expect(cut(good)).toHaveLength(good.length);
  expect(faults([publishPacket('t', Buffer.alloc(992))])).toEqual([]);
  expect(faults([publishPacket('t', Buffer.alloc(993))])).toEqual(['fault 149']);
  expect(faults([Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80])])).toEqual(['fault 129']);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const stream = Buffer.concat([...good, bytes]);
      expect(cut([...stream].map((byte) => Uint8Array.of(byte)))).toEqual(cut([stream]));
    }),
    { numRuns: 100 },
  );
});
