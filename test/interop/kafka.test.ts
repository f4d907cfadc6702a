// A segment read by somebody else's reader of Kafka's format (kafkajs, a client library) is what we wrote: keys, values,
// headers, timestamps, offsets. The library sums no checksum: that part is held against RFC 3720 elsewhere.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { CompressionCodecs, CompressionTypes } from 'kafkajs';
import Decoder from 'kafkajs/src/protocol/decoder.js';
import decodeBatch, { type KafkaBatch } from 'kafkajs/src/protocol/recordBatch/v0/decoder.js';
import { describe, expect, test } from 'vitest';
import type { LogConfig } from '../../gateway/log/config.ts';
import type { RecordInput } from '../../ledger/format/record.ts';
import { anyRecord, open, record } from '../gateway/log/records.ts';

CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: () => Promise.reject(new Error('this test only reads')),
  decompress: async (bytes: Buffer) => zstdDecompressSync(bytes),
});

/** Every batch of every segment, in file order. */
async function kafkaBatches(dataDir: string): Promise<KafkaBatch[]> {
  const folder = join(dataDir, 'log');
  const batches: KafkaBatch[] = [];
  for (const name of readdirSync(folder)
    .filter((file) => file.endsWith('.log'))
    .sort()) {
    const bytes = readFileSync(join(folder, name));
    expect(bytes.readBigInt64BE(0), name).toBe(BigInt(name.slice(0, 20)));
    const decoder = new Decoder(bytes);
    while (decoder.offset < bytes.length) batches.push(await decodeBatch(decoder));
  }
  return batches;
}

/** What Kafka's consumers should see of our record. */
function asKafka(input: RecordInput, offset: number): unknown {
  const long = (value: number) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64BE(BigInt(value));
    return bytes.toString('hex');
  };
  const hex = (bytes: Uint8Array | string) => Buffer.from(bytes as string).toString('hex');
  return {
    offset: String(offset),
    timestamp: String(input.eventMs),
    attributes: 0,
    isControlRecord: false,
    key: input.device === '' ? null : hex(input.device),
    value: hex(input.payload),
    headers: {
      topic: hex(input.topic),
      type: hex(input.contentType),
      src: hex(Uint8Array.of(input.source)),
      rx: long(input.receivedMs),
      ...(input.sequence === null ? {} : { seq: long(input.sequence) }),
      ...(input.salt.length === 0 ? {} : { salt: hex(input.salt) }),
      ...Object.fromEntries(input.headers.map(([name, value]) => [`h.${name}`, hex(value)])),
    },
  };
}

function seen(batches: readonly KafkaBatch[]): unknown[] {
  const hex = (bytes: Buffer) => bytes.toString('hex');
  return batches.flatMap(({ records }) =>
    records.map(({ offset, timestamp, attributes, isControlRecord, key, value, headers }) => ({
      offset,
      timestamp,
      attributes,
      isControlRecord,
      key: key && hex(key),
      value: value && hex(value),
      headers: Object.fromEntries(
        Object.entries(headers).map(([name, bytes]) => [name, hex(bytes as Buffer)]),
      ),
    })),
  );
}

const codecs: [string, Partial<LogConfig>][] = [
  ['none', {}],
  ['zstd', { compression: { codec: 'zstd', level: 1, minBatchBytes: 256, minSavedPercent: 1 } }],
];

describe.each(codecs)('codec %s', (codec, config) => {
  test('a log of several segments', async () => {
    const log = await open({
      config: { segmentBytes: 16 * 1024, maxBatchBytes: 4096, maxRecordBytes: 4096, ...config },
    });
    const records = Array.from({ length: 300 }, (_, n) =>
      record(n, {
        device: n % 9 === 0 ? '' : `pümpe-${n % 4}`,
        sequence: n % 5 === 0 ? null : n,
        eventMs: 1_763_600_000_000 + ((n * 7919) % 1000) - 500,
        headers: n % 6 === 0 ? [['unit', Buffer.from('mm/s')]] : [],
        // Half as long when packed.
        payload: Buffer.alloc((n * 37) % 900, createHash('sha512').update(`${n}`).digest('hex')),
        salt: n % 8 === 0 ? Buffer.alloc(16, n) : new Uint8Array(0),
      }),
    );
    for (let at = 0; at < records.length; at += 10) await log.appendAll(records.slice(at, at + 10));
    expect(log.figures().segments).toBeGreaterThan(2);
    await log.close();
    const batches = await kafkaBatches(log.dataDir);
    const first = readFileSync(join(log.dataDir, 'log', `${'0'.repeat(20)}.log`));
    expect(first.readInt16BE(21)).toBe(codec === 'zstd' ? 4 : 0);
    expect(seen(batches)).toEqual(records.map(asKafka));
    let next = 0;
    for (const batch of batches) {
      expect(batch).toMatchObject({
        firstOffset: String(next),
        lastOffsetDelta: batch.records.length - 1,
        firstTimestamp: batch.records[0]!.timestamp,
        maxTimestamp: String(Math.max(...batch.records.map(({ timestamp }) => Number(timestamp)))),
        partitionLeaderEpoch: 0,
        inTransaction: false,
        isControlBatch: false,
        producerId: '-1',
        producerEpoch: -1,
        firstSequence: -1,
      });
      next += batch.records.length;
    }
  });

  test('whatever a record may hold', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyRecord, { minLength: 1, maxLength: 20 }), async (records) => {
        const log = await open({ config: { preallocateBytes: 0, ...config } });
        await log.appendAll(records);
        await log.close();
        expect(seen(await kafkaBatches(log.dataDir))).toEqual(records.map(asKafka));
      }),
      { numRuns: 40 },
    );
  });
});
