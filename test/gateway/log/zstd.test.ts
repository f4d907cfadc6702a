// Holds packing to its promises: only what pays is packed, what is packed reads back the same anywhere, and a frame that
// unpacks to more than it may is refused before memory is taken for it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { contentSize, Packer, unpack } from '../../../gateway/log/zstd.ts';
import { open, plain, put, readAll, record } from './records.ts';

const MIB = 1024 * 1024;
const ON = logConfigSchema.parse({ compression: { codec: 'zstd' } }).compression;
const FIRST = `${'0'.repeat(20)}.log`;
const many = (from: number, count: number) => Array.from({ length: count }, (_, n) => record(from + n));
let state = 1;
const noise = (length: number) =>
  Uint8Array.from({ length }, () => {
    state = (state * 1_103_515_245 + 12_345) & 0x7fffffff;
    return state >>> 16;
  });

describe('which batches are packed', () => {
  const telemetry = Buffer.from('{"value":20.125,"unit":"mm/s"}'.repeat(200));

  test('those that are large enough and save enough', async () => {
    expect(new Packer({ ...ON, codec: 'none' }).pack(telemetry)).toBeNull();
    expect(new Packer({ ...ON, minBatchBytes: telemetry.length + 1 }).pack(telemetry)).toBeNull();
    const halves = Buffer.concat([noise(3000), new Uint8Array(3000)]);
    expect(await new Packer({ ...ON, minSavedPercent: 40 }).pack(halves)).not.toBeNull();
    expect(await new Packer({ ...ON, minSavedPercent: 60 }).pack(halves)).toBeNull();
    const packed = (await new Packer(ON).pack(telemetry))!;
    expect(packed.length).toBeLessThan(telemetry.length / 4);
    expect(unpack(packed, MIB).equals(telemetry)).toBe(true);
  });

  test('large ones in another thread', async () => {
    const large = Buffer.concat(Array.from({ length: 100 }, () => telemetry));
    const packed = new Packer(ON).pack(large);
    expect(packed).toBeInstanceOf(Promise);
    expect(unpack((await packed)!, MIB).equals(large)).toBe(true);
  });

  test('what does not pay is tried less and less often', async () => {
    const packer = new Packer(ON);
    const random = noise(8192);
    let tries = 0;
    for (let n = 0; n < 300; n++) {
      expect(await packer.pack(random)).toBeNull();
      // A batch that pays is packed only where one is tried.
      if (n % 50 === 49) tries += (await packer.pack(telemetry)) ? 1 : 0;
    }
    expect(tries).toBeLessThan(3);
    for (let n = 0; n < 65; n++) await packer.pack(telemetry);
    expect(await packer.pack(telemetry)).not.toBeNull();
  });
});

describe('a log with compression', () => {
  test('stores batches that pay packed, Kafka’s way, and lone records plain; all read back the same', async () => {
    const log = await open({ config: { compression: ON } });
    await put(log, record(0));
    await log.appendAll(many(1, 100));
    await log.appendAll(many(101, 2000));
    await log.appendAll([record(2101, { payload: noise(5000) })]);
    const reader = await log.openReader();
    const wanted = [...many(0, 2101).map(plain), plain(record(2101, { payload: noise(0) }))];
    const found = await readAll(reader);
    expect(found.slice(0, -1).map(plain)).toEqual(wanted.slice(0, -1));
    expect(found.at(-1)!.payload.length).toBe(5000);
    const figures = log.figures();
    expect(figures.appendedBytes).toBeLessThan(figures.plainBytes / 5);
    expect(figures.bytes).toBe(figures.appendedBytes);
    await log.close();

    const bytes = readFileSync(join(log.dataDir, 'log', FIRST));
    const codecs: number[] = [];
    for (let at = 0; at < bytes.length; ) {
      const end = at + 12 + bytes.readInt32BE(at + 8);
      const codec = bytes.readInt16BE(at + 21) & 7;
      codecs.push(codec);
      expect(crc32c(bytes.subarray(at + 21, end))).toBe(bytes.readUInt32BE(at + 17));
      if (codec === 4) expect(contentSize(bytes.subarray(at + 61, end))).toBeGreaterThan(2048);
      at = end;
    }
    expect(codecs).toEqual([0, 4, 4, 0]);
    const again = await open({ dataDir: log.dataDir });
    expect(again.recovery).toMatchObject({ damage: [], at: 2102, truncatedBytes: 0 });
    expect((await readAll(await again.openReader(), 1500)).length).toBe(602);
  });

  test('rolls, indexes and answers by the sizes on disk', async () => {
    const log = await open({
      config: { compression: ON, segmentBytes: 16 * 1024, indexIntervalBytes: 1024 },
    });
    for (let n = 0; n < 60; n++) await log.appendAll(many(n * 50, 50));
    const { segments, bytes, plainBytes } = log.figures();
    expect(bytes).toBeLessThan(plainBytes / 3);
    expect(segments).toBeGreaterThan(1);
    expect(segments).toBeLessThanOrEqual(Math.ceil(bytes / (14 * 1024)));
    expect((await readAll(await log.openReader())).map(plain)).toEqual(many(0, 3000).map(plain));
  });
});

describe('unpacking', () => {
  test('what Node packs says its size, in every width', () => {
    fc.assert(
      fc.property(fc.nat({ max: 200_000 }), (length) => {
        const frame = zstdCompressSync(Buffer.alloc(length, 'ab'));
        expect(contentSize(frame)).toBe(length);
        expect(unpack(frame, 200_000).length).toBe(length);
      }),
      { numRuns: 50 },
    );
  });

  test('a bomb is refused by what it says, without being unpacked', () => {
    const bomb = zstdCompressSync(Buffer.alloc(256 * MIB));
    expect(bomb.length).toBeLessThan(32 * 1024);
    const before = process.memoryUsage().rss;
    for (let n = 0; n < 100; n++) expect(() => unpack(bomb, 64 * MIB)).toThrow(/unpacks to 268435456 bytes/);
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * MIB);
  });

  test('a bomb that lies, or hides behind a small frame, gets no further than it said', () => {
    const small = zstdCompressSync(Buffer.alloc(100));
    const bomb = zstdCompressSync(Buffer.alloc(16 * MIB));
    const lying = Buffer.from(bomb);
    const width = [0, 2, 4, 8][lying[4]! >>> 6]!;
    const at = 5 + (lying[4]! & 0x20 ? 0 : 1);
    lying.fill(0, at, at + width);
    lying[at + 1] = 1;
    expect(contentSize(lying)).toBeLessThan(MIB);
    const before = process.memoryUsage().rss;
    expect(() => unpack(lying, 64 * MIB)).toThrow();
    expect(unpack(Buffer.concat([small, bomb]), 64 * MIB).length).toBe(100);
    expect(process.memoryUsage().rss - before).toBeLessThan(16 * MIB);
  });

  test('any bytes at all: an error, never more than allowed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, framed) => {
        const frame = framed ? Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), bytes]) : bytes;
        let length = 0;
        try {
          length = unpack(frame, 1000).length;
        } catch {}
        expect(length).toBeLessThanOrEqual(1000);
      }),
      { numRuns: 300 },
    );
  });
});
