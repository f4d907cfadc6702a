// Fuzz target of the MQTT listener: any bytes on a real socket harm nobody but who sent them.
import { Harness } from '../gateway/admission/harness.ts';
import { serve } from '../gateway/ingest/mqtt/serve.ts';
import {
  connectPacket,
  packet,
  pubacks,
  publishPacket,
  pubrelPacket,
  text,
  Wire,
} from '../gateway/ingest/mqtt/wire.ts';
import type { Target } from './target.ts';

const connect = connectPacket('fuzz', { will: { topic: 'w/w', payload: 'x', qos: 1 } });
const session = (...packets: Buffer[]) => Buffer.concat([connect, ...packets]);

export async function mqttTarget(): Promise<Target> {
  const harness = await Harness.open();
  const server = await serve(harness, { maxPacketBytes: 4096, connectTimeoutMs: 500 });
  let sent = 0;
  return {
    name: 'MQTT listener',
    good: [
      session(publishPacket('a/b', '{"seq":1}', { qos: 0 }), publishPacket('a/b', '2', { qos: 1, id: 4 })),
      session(publishPacket('a/b', '', { qos: 2, id: 5, retain: true }), pubrelPacket(5)),
      session(packet(0x82, [0, 9], text('a/#'), [2]), packet(0xa2, [0, 9], text('a/#'))),
      session(
        packet(0x40, [0, 9]),
        packet(0x50, [0, 9]),
        packet(0x70, [0, 9]),
        Buffer.from([0xc0, 0, 0xe0, 0]),
      ),
    ],
    check: async (bytes) => {
      const wire = await Wire.open(server.port);
      wire.socket.write(bytes.subarray(0, bytes.length >> 1));
      wire.socket.end(bytes.subarray(bytes.length >> 1));
      await wire.closed();
      sent += 1;
      if (sent % 16 !== 0) return;
      const witness = await Wire.connected(server.port, 'witness');
      witness.socket.write(publishPacket('plant/w/x', '1', { id: 1 }));
      const answer = await witness.take(4);
      witness.socket.destroy();
      if (!Buffer.from(answer).equals(pubacks(1))) throw new Error('others are no longer served');
    },
    close: async () => {
      await server.close();
      await harness.remove();
    },
  };
}
