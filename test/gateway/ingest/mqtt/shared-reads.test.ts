// TCP connections share the buffer they are read into: nobody gets another's bytes, also while those wait to be stored
// or for the rest of their packet, and a connection that is over is no longer counted.
import { expect, test } from 'vitest';
import { Harness } from '../../admission/harness.ts';
import { serve } from './serve.ts';
import { connectPacket, pubacks, publishPacket, Wire } from './wire.ts';

const CONNECTIONS = 8;
/** More than one read, and much less. */
const SIZES = [150_000, 10, 3_000];

async function until(isSo: () => boolean): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error('it did not become so');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('payloads that arrive mixed, in pieces and while the disk is busy are stored as they were sent', async () => {
  const harness = await Harness.open();
  const server = await serve(harness, {});
  try {
    const wires = await Promise.all(
      Array.from({ length: CONNECTIONS }, (_, n) => Wire.connected(server.port, `device-${n}`)),
    );
    const sent = new Map<string, Buffer>();
    const streams = wires.map((_, n) =>
      Buffer.concat(
        SIZES.map((size, index) => {
          const topic = `plant/device-${n}/value-${index}`;
          const payload = Buffer.alloc(size, `${n}.${index};`);
          sent.set(topic, payload);
          return publishPacket(topic, payload, { id: index + 1 });
        }),
      ),
    );
    harness.disk.hold();
    for (let at = 0; at < streams[0]!.length; at += 7_001) {
      for (const [n, wire] of wires.entries()) wire.socket.write(streams[n]!.subarray(at, at + 7_001));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await harness.disk.syncAsked();
    harness.disk.release();
    for (const wire of wires) expect(await wire.take(12)).toEqual(pubacks(1, 2, 3));
    const records = await harness.records();
    expect(records.length).toBe(sent.size);
    for (const { topic, payload } of records)
      expect(Buffer.compare(Buffer.from(payload), sent.get(topic)!), topic).toBe(0);
  } finally {
    await server.close();
    await harness.remove();
  }
});

test('connections make room for others however they end', async () => {
  const harness = await Harness.open();
  const server = await serve(harness, { maxConnections: 2 });
  try {
    for (const end of ['end', 'destroy', 'resetAndDestroy', 'garbage'] as const) {
      const wires = [await Wire.connected(server.port, 'a'), await Wire.connected(server.port, 'b')];
      for (const { socket } of wires) {
        // A second CONNECT: the gateway ends it.
        if (end === 'garbage') socket.write(connectPacket('a'));
        else socket[end]();
      }
      await until(() => server.figures().connections === 0);
    }
    expect(server.figures().connectionsRefused).toBe(0);
  } finally {
    await server.close();
    await harness.remove();
  }
});
