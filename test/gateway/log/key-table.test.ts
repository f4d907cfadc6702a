// Holds the table of keys to a plain map of the same records: texts alike, of any length and place, and so many that
// everything in it has to grow.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeyTable, viewOf } from '../../../gateway/log/key-table.ts';
import { FormFault } from '../../../gateway/log/varint.ts';

interface Noted {
  readonly device: string;
  readonly topic: string;
  readonly eventMs: number;
  readonly span: number;
}

function noteAll(records: readonly Noted[]): KeyTable {
  const table = new KeyTable();
  for (const { device, topic, eventMs, span } of records) {
    // Somewhere inside a larger buffer, as records lie in a segment.
    const bytes = Buffer.from(`xyz${topic}|${device}!`).subarray(3);
    const deviceAt = Buffer.byteLength(topic) + 1;
    const place = {
      deviceAt,
      deviceBytes: Buffer.byteLength(device),
      topicAt: 0,
      topicBytes: Buffer.byteLength(topic),
    };
    table.note(viewOf(bytes), place, eventMs, span);
  }
  return table;
}

function expected(records: readonly Noted[]) {
  const keys = new Map<string, Noted[]>();
  for (const each of records) {
    const name = JSON.stringify([each.device, each.topic]);
    keys.set(name, [...(keys.get(name) ?? []), each]);
  }
  return [...keys.values()].map((noted) => ({
    device: noted[0]!.device,
    topic: noted[0]!.topic,
    spans: [...new Set(noted.map(({ span }) => span))],
    firstMs: noted.reduce((least, { eventMs }) => Math.min(least, eventMs), Number.POSITIVE_INFINITY),
    lastMs: noted.reduce((most, { eventMs }) => Math.max(most, eventMs), Number.NEGATIVE_INFINITY),
    records: noted.length,
  }));
}

const held = (table: KeyTable) =>
  Array.from({ length: table.count }, (_, number) => {
    const { device, topic, spans, ...rest } = table.key(number);
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
    return { device: text(device), topic: text(topic), spans: [...spans], ...rest };
  });

const anyText = fc.oneof(
  fc.constantFrom('', 'a', 'ab', 'abc', 'abcd', 'abcde', 'abcdefgh', 'abcdefgx', 'xbcdefgh', 'ü', 'ab\0'),
  fc.string({ maxLength: 20 }),
);

test('what was noted comes back, by key, in the order it came', () => {
  const anyRecord = fc.record({
    device: anyText,
    topic: anyText,
    eventMs: fc.integer({ min: -(2 ** 50), max: 2 ** 50 }),
    jump: fc.nat(1),
  });
  fc.assert(
    fc.property(fc.array(anyRecord, { maxLength: 200 }), (items) => {
      let span = 0;
      const records = items.map(({ jump, ...rest }) => {
        span += jump;
        return { ...rest, span };
      });
      expect(held(noteAll(records))).toEqual(expected(records));
    }),
  );
});

test('more keys, texts and postings than there is room for at first', () => {
  const records = Array.from({ length: 30_000 }, (_, index) => ({
    device: `device-${index % 3_000}`,
    topic: `plant/${index % 3_000}/${'long'.repeat(index % 7)}`,
    eventMs: index,
    span: Math.floor(index / 40),
  }));
  expect(held(noteAll(records))).toEqual(expected(records));
});

test('text that is not UTF-8 is refused', () => {
  const bytes = viewOf(Uint8Array.of(0x61, 0xff));
  const place = { deviceAt: 0, deviceBytes: 1, topicAt: 1, topicBytes: 1 };
  expect(() => new KeyTable().note(bytes, place, 0, 0)).toThrow(FormFault);
});
