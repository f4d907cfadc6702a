// What admission holds a record against beside its limits: its schema, its clock, its message id; and that all of it
// is known again after a crash.
import { afterEach, describe, expect, test } from 'vitest';
import { ingestConfigSchema } from '../../../gateway/admission/config.ts';
import type { Outcome, Submission } from '../../../gateway/admission/types.ts';
import type { TelemetryRecord } from '../../../ledger/format/record.ts';
import { Harness, type HarnessOptions } from './harness.ts';

const NOW = 1_763_600_000_000;
const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const headersOf = (record: TelemetryRecord | undefined) =>
  Object.fromEntries((record?.headers ?? []).map(([name, value]) => [name, Buffer.from(value).toString()]));

let harness: Harness;
afterEach(() => harness.remove());
const open = async (options: HarnessOptions = {}) => {
  harness = await Harness.open({ clock: () => NOW, ...options });
};

describe('schemas', () => {
  const schema = { type: 'object', required: ['value'], properties: { value: { type: 'number' } } };
  const rules = (mode: string) => ({ ingest: { schemas: [{ topics: ['plant/#'], mode, schema }] } });
  const wrong = { payload: json({ value: 'high' }) };

  test('reject: refused with what does not fit; other topics and fitting payloads are not', async () => {
    await open(rules('reject'));
    expect(await harness.submit(wrong)).toEqual({
      kind: 'reject',
      reason: 'invalid',
      detail: '/value must be number',
    });
    expect(await harness.submit({ payload: Buffer.from('not json') })).toMatchObject({
      reason: 'invalid',
      detail: 'the payload is neither JSON nor CBOR',
    });
    expect(await harness.submit({ ...wrong, topic: 'site/pump-1/x' })).toMatchObject({ kind: 'stored' });
    expect(await harness.submit({ payload: json({ value: 1 }) })).toMatchObject({ kind: 'stored' });
    expect(harness.admission.figures().rejected.invalid).toBe(2);
  });

  test('quarantine: acknowledged, kept apart with the reason, recognised again', async () => {
    await open(rules('quarantine'));
    const sent = { ...wrong, sequence: 7 };
    expect(await harness.submit(sent)).toEqual({ kind: 'stored', offset: 0, quarantined: true });
    const [record] = await harness.records();
    expect(record).toMatchObject({
      topic: '$tidemark/quarantine/plant/pump-1/vibration',
      device: 'pump-1',
      source: 1,
    });
    expect(Buffer.from(record!.payload)).toEqual(wrong.payload);
    expect(headersOf(record)).toEqual({ 'tidemark-invalid': '/value must be number' });
    expect(await harness.submit(sent)).toEqual({ kind: 'duplicate' });
    await harness.crash();
    await harness.start();
    expect(await harness.submit(sent)).toEqual({ kind: 'duplicate' });
    expect(await harness.submit({ ...wrong, sequence: 8 })).toMatchObject({ kind: 'stored' });
    expect(harness.admission.figures().misfits).toEqual({ quarantined: 1, tagged: 0 });
  });

  test('tag: kept where it belongs, with the reason', async () => {
    await open(rules('tag'));
    expect(await harness.submit(wrong)).toEqual({ kind: 'stored', offset: 0 });
    const [record] = await harness.records();
    expect(record?.topic).toBe('plant/pump-1/vibration');
    expect(headersOf(record)).toEqual({ 'tidemark-invalid': '/value must be number' });
    expect(harness.admission.figures().misfits).toEqual({ quarantined: 0, tagged: 1 });
  });

  test('a payload nested deeper than a schema that refers to itself can follow is invalid, not a crash', async () => {
    const nested = { $id: 'tree', type: 'array', items: { $ref: 'tree' } };
    await open({ ingest: { schemas: [{ topics: ['#'], schema: nested }] } });
    const payload = Buffer.from('['.repeat(200_000) + ']'.repeat(200_000));
    expect(await harness.submit({ payload })).toMatchObject({ kind: 'reject', reason: 'invalid' });
    expect(await harness.submit({ payload: Buffer.from('[[[]]]') })).toMatchObject({ kind: 'stored' });
  });

  test.each([
    [{ type: 'obejct' }, ['type'], 'must be equal to one of the allowed values'],
    [{ properties: { v: { minimum: 'x' } } }, ['properties', 'v', 'minimum'], 'must be number'],
    [{ typ: 'object' }, [], 'unknown keyword: "typ"'],
    [{ $ref: 'https://example.com/other.json' }, [], "can't resolve reference"],
  ])('the schema %j is refused where it is wrong', async (bad, path, message) => {
    await open();
    const { error } = ingestConfigSchema.safeParse({ schemas: [{ topics: ['a'], schema: bad }] });
    expect(error?.issues).toHaveLength(1);
    expect(error?.issues[0]?.path).toEqual(['schemas', 0, 'schema', ...path]);
    expect(error?.issues[0]?.message).toContain(message);
  });
});

describe('clock', () => {
  const HOUR = 3_600_000;
  test.each([
    [NOW, undefined],
    [NOW + 600_000, undefined],
    [NOW + 600_001, 'ahead'],
    [Date.parse('2100-01-01'), 'ahead'],
    [NOW - 7 * 24 * HOUR, undefined],
    [NOW - 7 * 24 * HOUR - 1, 'behind'],
    [0, 'behind'],
    [-1, 'behind'],
  ])('a device time of %i is kept as sent, flagged as %s', async (ts, flag) => {
    await open();
    expect(await harness.submit({ payload: json({ ts }) })).toMatchObject({ kind: 'stored' });
    const [record] = await harness.records();
    expect(record).toMatchObject({ eventMs: ts, receivedMs: NOW });
    expect(headersOf(record)).toEqual(flag === undefined ? {} : { 'tidemark-clock': flag });
    const { ahead, behind } = harness.admission.figures().clock;
    expect([ahead, behind]).toEqual([Number(flag === 'ahead'), Number(flag === 'behind')]);
  });

  test('limits can be off', async () => {
    await open({ ingest: { clock: { maxAheadMs: null, maxBehindMs: null } } });
    await harness.submit({ eventMs: 0 });
    expect(headersOf((await harness.records())[0])).toEqual({});
  });
});

describe('message ids', () => {
  const first: Partial<Submission> = { messageId: 'order-1', payload: json({ n: 1 }) };

  test('a repetition is answered with the first one’s offset, also after a crash and after a clean restart', async () => {
    await open();
    await harness.submit({});
    expect(await harness.submit(first)).toEqual({ kind: 'stored', offset: 1 });
    expect(headersOf((await harness.records())[1])).toEqual({ 'message-id': 'order-1' });
    const again: Outcome = { kind: 'duplicate', offset: 1 as never };
    // Another device time is no other message: the id is what counts.
    expect(await harness.submit({ ...first, eventMs: 5 })).toEqual(again);
    await harness.crash();
    await harness.start();
    expect(await harness.submit(first)).toEqual(again);
    await harness.stop();
    await harness.start();
    expect(await harness.submit(first)).toEqual(again);
    expect(await harness.submit({ ...first, device: 'other' })).toMatchObject({ kind: 'stored' });
  });

  test('other bytes under the same id are refused, not taken for the first', async () => {
    await open();
    await harness.submit(first);
    expect(await harness.submit({ ...first, payload: json({ n: 2 }) })).toMatchObject({
      kind: 'reject',
      reason: 'malformed',
    });
    expect(await harness.submit({ ...first, topic: 'plant/pump-1/other' })).toMatchObject({ kind: 'reject' });
    expect(await harness.records()).toHaveLength(1);
  });

  test('a repetition that comes before the first is durable waits for it', async () => {
    await open();
    harness.disk.hold();
    const both = [harness.submit(first), harness.submit(first)];
    await harness.disk.syncAsked();
    expect(harness.admission.figures().inFlight).toBe(2);
    harness.disk.release();
    expect(await Promise.all(both)).toEqual([
      { kind: 'stored', offset: 0 },
      { kind: 'duplicate', offset: 0 },
    ]);
  });

  test('the header a device sends is the same as the adapter’s word', async () => {
    await open();
    const headers = [['message-id', Buffer.from('order-1')]] as const;
    await harness.submit({ payload: first.payload!, headers });
    expect(await harness.submit(first)).toEqual({ kind: 'duplicate', offset: 0 });
  });

  test.each(['', 'x'.repeat(257), 'a\nb', 'a\ufffd'])('the id %j is refused', async (messageId) => {
    await open();
    expect(await harness.submit({ messageId })).toMatchObject({ kind: 'reject', reason: 'malformed' });
  });
});

test('headers that speak for the gateway are refused', async () => {
  await open();
  const headers = [['tidemark-clock', Buffer.from('ahead')]] as const;
  expect(await harness.submit({ headers })).toMatchObject({ kind: 'reject', reason: 'malformed' });
});

test('after a crash the whole window of sequences is known, whether or not devices gave a time', async () => {
  let now = NOW;
  await open({ clock: () => now, ingest: { duplicates: { window: 64 } } });
  const records: Partial<Submission>[] = [];
  for (let sequence = 0; sequence < 64; sequence += 1) {
    now += 1;
    // By turns: no time, a time in the payload, one beside it; half of those equal to the receipt.
    const ms = sequence % 2 ? now : now - 5;
    const kind = sequence % 3;
    records.push({
      sequence,
      payload: json(kind === 1 ? { ts: ms } : { n: sequence }),
      eventMs: kind === 2 ? ms : null,
    });
    await harness.submit(records.at(-1)!);
  }
  await harness.crash();
  await harness.start();
  now += 1_000;
  for (const record of records)
    expect([record, await harness.submit(record)]).toEqual([record, { kind: 'duplicate' }]);
});

test('one device floods, the disk is slow: another’s record does not wait for the flood', async () => {
  await open({ ingest: { fairness: { windowBytes: 65_536, queueBytes: 1_048_576 } } });
  harness.disk.hold();
  const order: string[] = [];
  const send = (device: string, n: number) =>
    harness.submit({ device, payload: json({ n, text: 'x'.repeat(900) }) }).then((outcome) => {
      if (outcome.kind === 'stored') order.push(device);
      return outcome;
    });
  const flood = Array.from({ length: 1_000 }, (_, n) => send('flood', n));
  const meter = send('meter', 0);
  expect(harness.admission.figures().queued.lanes).toBe(2);
  harness.disk.release();
  const outcomes = await Promise.all(flood);
  await meter;
  const stored = outcomes.filter(({ kind }) => kind === 'stored').length;
  // What did not fit in the flood's share was refused at once, with a hint; nothing of the rest was lost.
  expect(stored).toBeGreaterThan(400);
  expect(stored).toBeLessThan(700);
  expect(outcomes.find(({ kind }) => kind !== 'stored')).toEqual({
    kind: 'shed',
    reason: 'overloaded',
    retryAfterMs: 250,
  });
  expect(order.indexOf('meter')).toBeLessThan(130);
  expect(await harness.records()).toHaveLength(stored + 1);
});

test('other rules hold from the moment they are given', async () => {
  await open();
  expect(await harness.submit({ topic: 'a/long/topic' })).toMatchObject({ kind: 'stored' });
  harness.admission.update(
    ingestConfigSchema.parse({ maxTopicBytes: 5, rate: { total: { perSecond: 1, burst: 1 } } }),
  );
  expect(await harness.submit({ topic: 'a/long/topic' })).toMatchObject({ reason: 'bad-topic' });
  expect(await harness.submit({ topic: 'a/b' })).toMatchObject({ kind: 'stored' });
  expect(await harness.submit({ topic: 'a/b' })).toMatchObject({ reason: 'rate-limited' });
});
