// Sparkplug B payloads against the bytes that the protobuf specification gives for them.
import { expect, test } from 'vitest';
import { encodeSparkplug } from '../../firmware-sim/clients/sparkplug-payload.ts';

/** protoc's own words for bytes: written by hand from sparkplug_b.proto and the protobuf encoding guide. */
const hex = (text: string) => text.replaceAll(/\s/g, '');

test('a birth: names, aliases, datatypes, 64-bit times, doubles', () => {
  const bytes = encodeSparkplug({
    timestampMs: 1_763_600_000_000,
    seq: 1,
    metrics: [
      { name: 'bdSeq', type: 'int64', value: 300 },
      { name: 'rms', alias: 2, type: 'double', value: 1.5 },
    ],
  });
  const time = '80c881f6a933';
  expect(bytes.toString('hex')).toBe(
    hex(`
      08 ${time}
      12 13  0a 05 6264536571  18 ${time}  20 04  58 ac02
      12 19  0a 03 726d73  10 02  18 ${time}  20 0a  69 000000000000f83f
      18 01
    `),
  );
});

test('a death: no time and no count, only the number of its birth', () => {
  expect(encodeSparkplug({ metrics: [{ name: 'bdSeq', type: 'int64', value: 0 }] }).toString('hex')).toBe(
    hex('12 0b  0a 05 6264536571  20 04  58 00'),
  );
});
