import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mqttConfigSchema } from '../../../../gateway/ingest/mqtt/config.ts';
import { FrameGuard } from '../../../../gateway/ingest/mqtt/frame-guard.ts';
import { type MqttServer, startMqtt } from '../../../../gateway/ingest/mqtt/listener.ts';
import { Harness } from '../../admission/harness.ts';
import { connectPacket, packet, pubacks, publishPacket, pubrelPacket, text, Wire } from './wire.ts';

let harness: Harness;
let server: MqttServer;
beforeAll(async () => {
  harness = await Harness.open();
  const config = mqttConfigSchema.parse({ port: 0, maxPacketBytes: 4096, connectTimeoutMs: 500 });
  server = await startMqtt({ config, admission: harness.admission, logger: harness.lines });
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

test('the frame guard finds the same fault however the stream is cut', () => {
  const verdict = (chunks: Uint8Array[]) => {
    const guard = new FrameGuard(1000);
    for (const chunk of chunks) {
      const problem = guard.feed(chunk);
      if (problem) return problem;
    }
    return null;
  };
  expect(verdict(good)).toBeNull();
  expect(verdict([publishPacket('t', Buffer.alloc(992))])).toBeNull();
  expect(verdict([publishPacket('t', Buffer.alloc(993))])).toBe('too-large');
  expect(verdict([Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80])])).toBe('malformed');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const stream = Buffer.concat([...good, bytes]);
      expect(verdict([...stream].map((byte) => Uint8Array.of(byte)))).toBe(verdict([stream]));
    }),
    { numRuns: 100 },
  );
});
