// Fuzz targets of MQTT: any bytes on a real socket harm nobody but who sent them, and the decoders take any body or refuse
// it as the standard's fault, however it is cut off.
import {
  decodeAck,
  decodeConnect,
  decodeDisconnect,
  decodeSubscribe,
  decodeUnsubscribe,
} from '../../gateway/ingest/mqtt/decode.ts';
import { PublishReader } from '../../gateway/ingest/mqtt/publish.ts';
import { PacketFault } from '../../gateway/ingest/mqtt/reason.ts';
import type { Session } from '../../gateway/ingest/mqtt/session.ts';
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

/** Only carried along. */
const session5 = {} as Session;
const connect = connectPacket('fuzz', { will: { topic: 'w/w', payload: 'x', qos: 1 } });
const session = (...packets: Buffer[]) => Buffer.concat([connect, ...packets]);

const properties = (...bytes: number[]) => Buffer.from([bytes.length, ...bytes]);

/** A packet's first byte, then its body, in MQTT 5 and in 3.1.1. */
export function mqttDecoderTarget(): Target {
  const connect5 = packet(
    0x10,
    text('MQTT'),
    [5, 0xee, 0, 9],
    properties(0x11, 0, 0, 0, 5, 0x21, 0, 9, 0x27, 0, 1, 0, 0, 0x26, 0, 1, 97, 0, 1, 98),
    text('client'),
    properties(0x18, 0, 0, 0, 1, 0x03, 0, 1, 97),
    text('w/w'),
    text('gone'),
    text('user'),
    text('password'),
  );
  return {
    name: 'MQTT decoders',
    good: [
      connect,
      connect5,
      packet(0x32, text('a/b'), [0, 4], properties(0x23, 0, 1, 0x08, 0, 1, 97, 0x02, 0, 0, 0, 1), text('x')),
      packet(0x82, [0, 9], properties(0x0b, 5), text('$share/g/a/+/#'), [0x2a]),
      packet(0xa2, [0, 9], properties(0x26, 0, 1, 97, 0, 1, 98), text('a/#')),
      packet(0x40, [0, 9, 0x97], properties(0x1f, 0, 1, 97)),
      packet(0xe0, [4], properties(0x11, 0, 0, 0, 1)),
    ],
    check: (bytes, isGood) => {
      if (bytes.length < 2) return;
      let decoded = false;
      const first = bytes[0]!;
      const body = bytes.subarray(2);
      for (const version of [4, 5] as const) {
        const reader = new PublishReader(version, 10, 8);
        const decoders: readonly (() => unknown)[] = [
          () => decodeConnect(body, 0, body.length, first & 0xf, { version: null }),
          () => decodeSubscribe(body, 0, body.length, version),
          () => decodeUnsubscribe(body, 0, body.length, version),
          () => decodeAck(body, 0, body.length, version, 'puback'),
          () => decodeDisconnect(body, 0, body.length, version),
          () => {
            const { topic, payload, headers, contentType } = reader.read(
              session5,
              first,
              body,
              0,
              body.length,
            );
            if (topic === '' || payload.length > body.length) throw new Error('more than there was');
            if (contentType.length > 255) throw new Error('no content type of a record');
            if (new Set(headers.map(([name]) => name)).size !== headers.length)
              throw new Error('two headers of one name');
          },
        ];
        for (const decode of decoders) {
          try {
            decode();
            decoded = true;
          } catch (error) {
            if (!(error instanceof PacketFault)) throw error;
          }
        }
      }
      if (isGood && !decoded) throw new Error('good input is refused');
    },
  };
}

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
