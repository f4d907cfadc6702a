// The simulator's MQTT packets against a codec of another maker, and against streams cut anywhere.
import fc from 'fast-check';
import mqttPacket from 'mqtt-packet';
import { expect, test } from 'vitest';
import {
  connectPacket,
  type FromBroker,
  PacketError,
  PacketReader,
  publishPacket,
  subscribePacket,
} from '../../firmware-sim/clients/mqtt-packets.ts';

function parsed(bytes: Buffer, protocolVersion: 4 | 5): mqttPacket.Packet[] {
  const packets: mqttPacket.Packet[] = [];
  const parser = mqttPacket.parser({ protocolVersion });
  parser.on('packet', (packet) => packets.push(packet));
  parser.on('error', (error) => {
    throw error;
  });
  parser.parse(bytes);
  return packets;
}

test.each([4, 5] as const)('version %i: another codec reads what is sent', (version) => {
  const will = { topic: 'w/x', payload: Buffer.from([1, 2]) };
  expect(
    parsed(connectPacket({ version, clientId: 'pump-1', keepAliveSeconds: 60, will }), version)[0],
  ).toMatchObject({
    cmd: 'connect',
    protocolVersion: version,
    clientId: 'pump-1',
    keepalive: 60,
    clean: true,
    will: { topic: 'w/x', payload: Buffer.from([1, 2]), qos: 1 },
  });
  expect(parsed(subscribePacket(version, 7, 'a/#'), version)[0]).toMatchObject({
    cmd: 'subscribe',
    messageId: 7,
    subscriptions: [{ topic: 'a/#', qos: 1 }],
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 65_535 }),
      fc.string({ minLength: 1, maxLength: 40 }),
      fc.string({ maxLength: 40_000, size: 'max' }),
      (id, topic, payload) => {
        fc.pre(topic.isWellFormed() && !/[+#\0]/.test(topic));
        const [packet] = parsed(publishPacket(version, id, topic, payload), version);
        expect(packet).toMatchObject({
          cmd: 'publish',
          qos: 1,
          messageId: id,
          topic,
          payload: Buffer.from(payload),
        });
      },
    ),
    { numRuns: 100, seed: 1 },
  );
});

test.each([4, 5] as const)(
  'version %i: what a broker sends is read, wherever the stream is cut',
  (protocolVersion) => {
    const options = { protocolVersion };
    const stream = Buffer.concat([
      mqttPacket.generate(
        {
          cmd: 'connack',
          returnCode: 0,
          reasonCode: 0,
          sessionPresent: false,
          ...(protocolVersion === 5 && {
            properties: { receiveMaximum: 17, reasonString: 'welcome', userProperties: { a: 'b' } },
          }),
        },
        options,
      ),
      mqttPacket.generate(
        { cmd: 'puback', messageId: 300, ...(protocolVersion === 5 && { reasonCode: 0x97 }) },
        options,
      ),
      mqttPacket.generate(
        {
          cmd: 'publish',
          topic: 't',
          payload: Buffer.alloc(500, 7),
          qos: 1,
          messageId: 9,
          retain: false,
          dup: false,
        },
        options,
      ),
      mqttPacket.generate({ cmd: 'pingresp' }, options),
    ]);
    const wanted = [
      { type: 'connack', code: 0, receiveMaximum: protocolVersion === 5 ? 17 : 65_535 },
      { type: 'puback', id: 300, code: protocolVersion === 5 ? 0x97 : 0 },
      { type: 'publish', id: 9, topic: 't', payload: Buffer.alloc(500, 7) },
      { type: 'other' },
    ];
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: stream.length }), { maxLength: 12 }), (cuts) => {
        const reader = new PacketReader(protocolVersion);
        const got: FromBroker[] = [];
        const places = [0, ...cuts.toSorted((a, b) => a - b), stream.length];
        for (const [index, end] of places.slice(1).entries())
          got.push(...reader.read(stream.subarray(places[index], end)));
        expect(got).toEqual(wanted);
      }),
      { numRuns: 100, seed: 1 },
    );
  },
);

test('bytes that are no packets end in a PacketError, never in a crash or a hang', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.constantFrom(4 as const, 5 as const),
      (bytes, version) => {
        try {
          for (const packet of new PacketReader(version).read(Buffer.from(bytes)))
            expect(packet.type).toBeTypeOf('string');
        } catch (error) {
          expect(error).toBeInstanceOf(PacketError);
        }
      },
    ),
    { numRuns: 2_000, seed: 1 },
  );
});
