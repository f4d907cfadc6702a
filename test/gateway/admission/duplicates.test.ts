import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DeviceTable } from '../../../gateway/admission/devices.ts';
import { DuplicateGuard, fingerprint, topicCrcOf } from '../../../gateway/admission/duplicates.ts';
import { MessageIds, messageDigest } from '../../../gateway/admission/message-ids.ts';
import { decodeSnapshot, encodeSnapshot } from '../../../gateway/admission/snapshot.ts';
import { offset } from '../../../ledger/format/brand.ts';

const limits = { window: 16, maxEntries: 100_000, maxDevices: 3 };

const withGuard = (duplicates: DuplicateGuard) => {
  return { devices: new DeviceTable(3), duplicates, messages: new MessageIds(10) };
};

interface Remembered {
  device: string;
  sequence: number;
  print: number;
}

/** What the guard promises, done slowly: the last `window` records of each device. */
function reference(records: Remembered[], window: number, { device, sequence, print }: Remembered): boolean {
  const own = records.filter((record) => record.device === device).slice(-window);
  return own.some((record) => record.sequence === sequence && record.print === print);
}

const record = fc.record({
  device: fc.constantFrom('a', 'b', 'c'),
  sequence: fc.integer({ min: 0, max: 40 }),
  print: fc.integer({ min: 0, max: 1 }),
});

test('exactly the last records of each device are recognised, also after save and load', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { maxLength: 120 }),
      fc.array(record, { maxLength: 30 }),
      async (stored, asked) => {
        const guard = new DuplicateGuard(limits);
        for (const { device, sequence, print } of stored) guard.remember(device, sequence, print);
        const loaded = new DuplicateGuard(limits);
        expect(decodeSnapshot(await encodeSnapshot(withGuard(guard)), withGuard(loaded))).toBe(true);
        for (const each of [...asked, ...stored]) {
          const expected = reference(stored, limits.window, each) ? 'stored' : null;
          expect(guard.find(each.device, each.sequence, each.print)).toBe(expected);
          expect(loaded.find(each.device, each.sequence, each.print)).toBe(expected);
        }
      },
    ),
    { numRuns: 200 },
  );
});

test('a snapshot is of the moment in which it was begun, whatever comes while it is copied', async () => {
  const roomy = { window: 4096, maxEntries: 1_000_000, maxDevices: 60 };
  const devices = Array.from({ length: 50 }, (_, at) => `device-${at}`);
  const filled = () => {
    const guard = new DuplicateGuard(roomy);
    for (let sequence = 0; sequence < 5_000; sequence += 1)
      for (const device of devices) guard.remember(device, sequence, sequence);
    return guard;
  };
  const undisturbed = await encodeSnapshot(withGuard(filled()));
  const guard = filled();
  let pauses = 0;
  const disturb = async () => {
    pauses += 1;
    for (const device of devices) guard.remember(device, 10_000 + pauses, 1);
    // There is no room for all of them: those longest unheard are forgotten.
    guard.remember(`new-${pauses}`, 1, 1);
  };
  const disturbed = await encodeSnapshot(withGuard(guard), disturb, 0);
  expect(disturbed.equals(undisturbed)).toBe(true);
  expect(pauses).toBeGreaterThan(10);
  expect(guard.forgotten).toBeGreaterThan(10);
});

test('bytes that are no snapshot are refused', async () => {
  const guard = new DuplicateGuard(limits);
  guard.remember('a', 1, 2);
  const messages = new MessageIds(10);
  messages.remember(messageDigest('a', 'm'), { fingerprint: 3, offset: offset(4) });
  const bytes = await encodeSnapshot({ ...withGuard(guard), messages });
  const load = (state: Uint8Array) => decodeSnapshot(state, withGuard(new DuplicateGuard(limits)));
  expect(load(bytes)).toBe(true);
  expect(load(bytes.subarray(0, -1))).toBe(false);
  expect(load(new Uint8Array(0))).toBe(false);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (state) => !load(state)),
    { numRuns: 200 },
  );
  fc.assert(
    fc.property(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= flip;
      load(damaged);
    }),
    { numRuns: 200 },
  );
});

test('the least recently heard device is forgotten, and counted', () => {
  const guard = new DuplicateGuard(limits);
  for (const device of ['a', 'b', 'c']) guard.remember(device, 1, 1);
  guard.find('a', 1, 1);
  guard.remember('d', 1, 1);
  expect(guard.find('b', 1, 1)).toBeNull();
  expect(guard.find('a', 1, 1)).toBe('stored');
  expect(guard.forgotten).toBe(1);
});

test('at the limit of all entries windows stop growing, and keep their newest', () => {
  const guard = new DuplicateGuard({ window: 256, maxEntries: 64, maxDevices: 4 });
  for (const device of ['a', 'b'])
    for (let sequence = 0; sequence < 200; sequence += 1) guard.remember(device, sequence, 1);
  expect(guard.find('b', 199, 1)).toBe('stored');
  expect(guard.find('b', 100, 1)).toBeNull();
});

test('a record’s fingerprint tells topic, payload and time apart', () => {
  const payload = Buffer.from('{}');
  const prints = [
    fingerprint(topicCrcOf('t'), payload, null),
    fingerprint(topicCrcOf('u'), payload, null),
    fingerprint(topicCrcOf('t'), Buffer.from('[]'), null),
    fingerprint(topicCrcOf('t'), payload, 0),
    fingerprint(topicCrcOf('t'), payload, 1_763_600_000_000),
    fingerprint(topicCrcOf('t'), payload, 1_763_600_000_000 + 2 ** 32),
    fingerprint(topicCrcOf('t'), payload, -1),
  ];
  expect(new Set(prints).size).toBe(prints.length);
  for (const print of prints) expect(Number.isSafeInteger(print) && print >= 0).toBe(true);
});

test('message ids: the most recent ones are known, with their offset, also after save and load', async () => {
  const messages = new MessageIds(2);
  const store = (id: string, print: number, at: number) =>
    messages.settle(messages.begin(messageDigest('d', id), print), offset(at));
  store('one', 1, 10);
  store('two', 2, 11);
  expect(messages.find(messageDigest('d', 'one'), 1)).toMatchObject({ offset: 10 });
  store('three', 3, 12);
  const loaded = new MessageIds(2);
  const guard = new DuplicateGuard(limits);
  const saved = await encodeSnapshot({ ...withGuard(guard), messages });
  expect(decodeSnapshot(saved, { ...withGuard(guard), messages: loaded })).toBe(true);
  for (const ids of [messages, loaded]) {
    expect(ids.find(messageDigest('d', 'one'), 1)).toMatchObject({ offset: 10 });
    expect(ids.find(messageDigest('d', 'two'), 2)).toBeNull();
    expect(ids.find(messageDigest('d', 'three'), 4)).toBe('conflict');
    expect(ids.find(messageDigest('other', 'three'), 3)).toBeNull();
  }
  expect(messages.forgotten).toBe(1);
});

test('fingerprints are as far apart as 53 bits allow', () => {
  const prints = Array.from({ length: 200_000 }, (_, n) =>
    fingerprint(topicCrcOf('t'), Buffer.from(String(n)), n % 2 ? n : null),
  );
  // 32 bits: about five of these would be the same by chance.
  expect(new Set(prints).size).toBe(200_000);
  expect(prints.filter((print) => print >= 2 ** 52).length).toBeGreaterThan(80_000);
});
