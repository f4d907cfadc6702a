import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Outcome } from '../../../gateway/admission/types.ts';
import { offset } from '../../../ledger/format/brand.ts';
import { Harness } from './harness.ts';

const json = (value: unknown) => Buffer.from(JSON.stringify(value));

let harness: Harness;
beforeEach(async () => {
  harness = await Harness.open({ clock: () => 1_763_600_000_000 });
});
afterEach(() => harness.remove());

test('a stored record is the device’s bytes under the names the topic gives it', async () => {
  expect(await harness.submit({ payload: Buffer.from('{"value": 0.42 }') })).toEqual({
    kind: 'stored',
    offset: 0,
  });
  const [record] = await harness.records();
  expect(record).toMatchObject({
    topic: 'plant/pump-1/vibration',
    device: 'pump-1',
    sequence: null,
    eventMs: 1_763_600_000_000,
    receivedMs: 1_763_600_000_000,
    source: 1,
  });
  expect(Buffer.from(record!.payload).toString()).toBe('{"value": 0.42 }');
});

test.each([
  [{ device: 'named', topic: 'plant/pump-1/x' }, 'named'],
  [{ topic: 'plant/pump-1/x' }, 'pump-1'],
  [{ topic: '/plant' }, 'client-7'],
])('the device of %j is %s', async (submission, device) => {
  await harness.submit(submission);
  expect((await harness.records())[0]?.device).toBe(device);
});

test.each([
  [{ ts: 1_700_000_000_123, seq: 4 }, 1_700_000_000_123, 4],
  [{ ts: '2026-11-20T12:00:00.5Z' }, Date.parse('2026-11-20T12:00:00.500Z'), null],
  [{ ts: '2026-11-20T12:00:00' }, Date.parse('2026-11-20T12:00:00Z'), null],
  [{ ts: 'yesterday', seq: 1.5 }, 1_763_600_000_000, null],
  [{ ts: 4_102_444_800_000, seq: '7' }, 4_102_444_800_000, null],
  [{ ts: 1_700_000_000_123.9, seq: -1 }, 1_700_000_000_123, null],
])('time and counter in %j', async (payload, eventMs, sequence) => {
  await harness.submit({ payload: json(payload) });
  expect((await harness.records())[0]).toMatchObject({ eventMs, sequence });
});

test.each([
  ['', 'bad-topic'],
  ['$SYS/x', 'bad-topic'],
  ['a/+/b', 'bad-topic'],
  ['a/#', 'bad-topic'],
  ['a\0b', 'bad-topic'],
  ['a\nb', 'bad-topic'],
  ['a\ud800', 'bad-topic'],
  ['a\ufffd', 'bad-topic'],
  ['é'.repeat(257), 'bad-topic'],
])('topic %j is refused as %s', async (topic, reason) => {
  expect(await harness.submit({ topic })).toMatchObject({ kind: 'reject', reason });
  expect(await harness.records()).toEqual([]);
  expect(harness.admission.figures()).toMatchObject({ rejected: { 'bad-topic': 1 }, refused: { mqtt: 1 } });
});

test('payload and device id have limits', async () => {
  const payload = Buffer.alloc(harness.config.maxPayloadBytes + 1);
  expect(await harness.submit({ payload })).toMatchObject({ kind: 'reject', reason: 'too-large' });
  expect(await harness.submit({ device: 'x'.repeat(257) })).toMatchObject({
    kind: 'reject',
    reason: 'malformed',
  });
  expect(await harness.submit({ payload: payload.subarray(1) })).toMatchObject({ kind: 'stored' });
});

test('no answer while the sync is held back', async () => {
  harness.disk.hold();
  let answered: Outcome | null = null;
  const outcome = harness.submit({}).then((value) => (answered = value));
  await harness.disk.syncAsked();
  await new Promise((resolve) => setImmediate(resolve));
  expect(answered).toBeNull();
  harness.disk.release();
  expect(await outcome).toEqual({ kind: 'stored', offset: 0 });
});

test('a full disk sheds with a hint, and takes records again once there is room', async () => {
  await harness.submit({});
  harness.disk.full = true;
  expect(await harness.submit({})).toEqual({ kind: 'shed', reason: 'disk-full', retryAfterMs: 5000 });
  harness.disk.full = false;
  let outcome: Outcome = await harness.submit({});
  for (let tries = 0; outcome.kind === 'shed' && tries < 50; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    outcome = await harness.submit({});
  }
  expect(outcome).toEqual({ kind: 'stored', offset: 1 });
});

test('after close everything is shed as unavailable', async () => {
  await harness.admission.close();
  expect(await harness.submit({})).toMatchObject({ kind: 'shed', reason: 'unavailable' });
});

test('an answer that throws does not reach the log', async () => {
  await new Promise<void>((resolve) => {
    harness.admission.submit(
      {
        source: 1,
        topic: 't',
        device: null,
        fallbackDevice: '',
        contentType: '',
        payload: json(1),
        sequence: null,
        eventMs: null,
      },
      () => {
        setImmediate(resolve);
        throw new Error('a connection’s trouble');
      },
    );
  });
  expect(harness.lines.all.at(-1)).toMatchObject({ level: 'error', message: 'answering a device failed' });
  expect(await harness.submit({})).toMatchObject({ kind: 'stored', offset: 1 });
});

describe('repetitions', () => {
  const seq = (sequence: number, value = 1) => ({ payload: json({ seq: sequence, value }) });

  test('the same sequence with the same bytes is stored once', async () => {
    expect(await harness.submit(seq(1))).toEqual({ kind: 'stored', offset: 0 });
    expect(await harness.submit(seq(1))).toEqual({ kind: 'duplicate' });
    expect(await harness.records()).toHaveLength(1);
  });

  test('other bytes, another topic or another time make another record', async () => {
    const outcomes = [
      await harness.submit(seq(1)),
      await harness.submit(seq(1, 2)),
      await harness.submit({ ...seq(1), topic: 'plant/pump-1/other' }),
      await harness.submit({ ...seq(1), eventMs: 5 }),
      await harness.submit({ ...seq(1), device: 'pump-2' }),
      await harness.submit(seq(0)),
    ];
    expect(outcomes.map(({ kind }) => kind)).toEqual(Array(6).fill('stored'));
  });

  test('without a sequence nothing is a repetition', async () => {
    await harness.submit({});
    expect(await harness.submit({})).toEqual({ kind: 'stored', offset: 1 });
  });

  test('a repetition of a record on its way is answered only once that is durable', async () => {
    harness.disk.hold();
    const answers: string[] = [];
    const first = harness.submit(seq(1)).then(({ kind }) => answers.push(kind));
    const again = harness.submit(seq(1)).then(({ kind }) => answers.push(kind));
    await harness.disk.syncAsked();
    await new Promise((resolve) => setImmediate(resolve));
    expect(answers).toEqual([]);
    harness.disk.release();
    await Promise.all([first, again]);
    expect(answers).toEqual(['stored', 'duplicate']);
  });

  test('when the first one fails, its repetition is stored itself', async () => {
    harness.disk.full = true;
    const outcomes = await Promise.all([harness.submit(seq(1)), harness.submit(seq(1))]);
    expect(outcomes.map(({ kind }) => kind)).toEqual(['shed', 'shed']);
    harness.disk.full = false;
    let outcome = await harness.submit(seq(1));
    while (outcome.kind === 'shed') outcome = await harness.submit(seq(1));
    expect(outcome.kind).toBe('stored');
    expect(await harness.submit(seq(1))).toEqual({ kind: 'duplicate' });
  });

  test.each(['stop', 'crash'] as const)('are known after a %s', async (end) => {
    for (let sequence = 0; sequence < 20; sequence += 1) await harness.submit(seq(sequence));
    await harness.submit({ payload: json({ seq: 77, ts: 1_763_600_000_000 }) });
    await harness.submit({ ...seq(78), eventMs: 1_763_600_000_000 });
    await harness[end]();
    await harness.start();
    for (let sequence = 0; sequence < 20; sequence += 1) {
      expect(await harness.submit(seq(sequence))).toEqual({ kind: 'duplicate' });
    }
    expect(await harness.submit({ payload: json({ seq: 77, ts: 1_763_600_000_000 }) })).toEqual({
      kind: 'duplicate',
    });
    expect(await harness.submit({ ...seq(78), eventMs: 1_763_600_000_000 })).toEqual({ kind: 'duplicate' });
    expect(await harness.submit(seq(20))).toEqual({ kind: 'stored', offset: 22 });
  });

  test('a snapshot ahead of the log is not believed', async () => {
    await harness.submit(seq(1));
    await harness.stop();
    const { StateStore } = await import('../../../gateway/state/state.ts');
    const state = new StateStore(harness.dataDir);
    const cursor = state.loadCursor('admission')!;
    expect(cursor.next).toBe(1);
    state.saveCursor('admission', offset(2), cursor.state);
    state.close();
    await harness.start();
    expect(harness.lines.all.some(({ message }) => message.includes('does not fit the log'))).toBe(true);
    expect(await harness.submit(seq(1))).toEqual({ kind: 'duplicate' });
  });
});

test('devices are listed with their topics, newest record and count, also after a restart', async () => {
  await harness.submit({});
  await harness.submit({ topic: 'plant/pump-1/temperature' });
  await harness.submit({ topic: 'plant/a/x', source: 3 });
  const expected = [
    { device: 'a', topics: ['plant/a/x'], records: 1, lastMs: 1_763_600_000_000, lastOffset: 2, source: 3 },
    {
      device: 'pump-1',
      topics: ['plant/pump-1/vibration', 'plant/pump-1/temperature'],
      records: 2,
      lastMs: 1_763_600_000_000,
      lastOffset: 1,
      source: 1,
    },
  ];
  expect(harness.admission.devices.list()).toEqual(expected);
  await harness.stop();
  await harness.start();
  expect(harness.admission.devices.list()).toEqual(expected);
  await harness.submit({ topic: 'plant/b/x' });
  await harness.crash();
  await harness.start();
  expect(harness.admission.devices.list().map(({ device, records }) => [device, records])).toEqual([
    ['a', 1],
    ['b', 1],
    ['pump-1', 2],
  ]);
});

describe('what other payloads than JSON say', () => {
  const stored = async () => (await harness.records()).map(({ eventMs, sequence }) => [eventMs, sequence]);

  test('CBOR by its content type: time and counter by the same pointers', async () => {
    const payload = Buffer.from('a2627473c11a514b67b063736571182a', 'hex'); // {"ts": 1(1363896240), "seq": 42}
    await harness.submit({ payload, contentType: 'application/cbor' });
    await harness.submit({
      payload: Buffer.from('a1637365710a', 'hex'),
      contentType: 'application/senml+cbor',
    });
    expect(await stored()).toEqual([
      [1_363_896_240_000, 42],
      [expect.any(Number), 10],
    ]);
    expect((await harness.submit({ payload, contentType: 'application/cbor' })).kind).toBe('duplicate');
  });

  test('line protocol: the timestamp in the precision the content type names', async () => {
    const contentType = 'text/vnd.influx.line-protocol';
    const payload = Buffer.from('m v=1 1763600000123456789');
    await harness.submit({ payload, contentType });
    await harness.submit({ payload: Buffer.from('m v=1 17'), contentType: `${contentType}; precision=s` });
    await harness.submit({ payload: Buffer.from('m v=1 17'), contentType: `${contentType}; precision=x` });
    const [first, second, third] = await stored();
    expect([first![0], second![0]]).toEqual([1_763_600_000_123, 17_000]);
    expect(third![0]).toBe(1_763_600_000_000); // the gateway’s own clock
  });
});
