// What has come of something that is not all there takes the room of its bytes, however small the pieces.
import { expect, test } from 'vitest';
import { gather } from '../../../gateway/ingest/gather.ts';
import { PacketStream } from '../../../gateway/ingest/mqtt/packet-stream.ts';

test('a byte at a time makes few pieces, and large ones are left as they are', () => {
  const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, at) => at % 251));
  const kept: Buffer[] = [];
  for (const byte of bytes) gather(kept, Buffer.of(byte));
  expect(kept.length).toBeLessThan(50);
  expect(Buffer.concat(kept).equals(bytes)).toBe(true);
  const large = Buffer.alloc(10_000);
  gather(kept, large);
  expect(kept.at(-1)).toBe(large);
});

test('an MQTT packet cut into bytes is put together again', () => {
  const packets: Buffer[] = [];
  const stream = new PacketStream(1_000_000, (_first, bytes, start, end) => {
    packets.push(bytes.subarray(start, end));
    return true;
  });
  const body = Buffer.from(Array.from({ length: 20_000 }, (_, at) => at % 251));
  for (const byte of [0x30, 0xa0, 0x9c, 0x01, ...body, 0x30, 0x01, 0x07]) stream.feed(Buffer.of(byte));
  expect(packets.map((packet) => packet.length)).toEqual([20_000, 1]);
  expect(packets[0]!.equals(body)).toBe(true);
  expect(stream.waitingBytes).toBe(0);
});
