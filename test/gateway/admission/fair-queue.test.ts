// The fair queue against its promises: order within a lane, turns between lanes, and bounded room.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FairQueue } from '../../../gateway/admission/fair-queue.ts';

interface Item {
  readonly lane: string;
  readonly number: number;
  readonly bytes: number;
  next: Item | null;
}

const itemOf = (lane: string, number: number, bytes: number): Item => ({ lane, number, bytes, next: null });

function queueOf(config: { windowBytes: number; queueBytes: number }) {
  const sent: Item[] = [];
  const queue = new FairQueue<Item>(config, (item) => sent.push(item));
  let done = 0;
  /** The next item under way is done with; false when there is none. */
  const finish = (): boolean => {
    const next = sent[done];
    if (next === undefined) return false;
    done += 1;
    queue.finished(next.bytes);
    return true;
  };
  return { queue, sent, finish };
}

test('a newcomer waits for one turn, not for all that a flood has brought', () => {
  const { queue, sent, finish } = queueOf({ windowBytes: 10_000, queueBytes: 1_000_000 });
  for (let number = 0; number < 400; number += 1) queue.offer('flood', itemOf('flood', number, 1_000), false);
  const before = sent.length;
  queue.offer('meter', itemOf('meter', 0, 300), false);
  while (!sent.some(({ lane }) => lane === 'meter')) expect(finish()).toBe(true);
  const meanwhile = sent.length - before;
  expect(meanwhile).toBeLessThan(40);
  expect(queue.figures.items).toBeGreaterThan(300);
});

test('two floods share by bytes, whatever the size of their records', () => {
  const { queue, sent, finish } = queueOf({ windowBytes: 10_000, queueBytes: 100_000_000 });
  for (let number = 0; number < 9_000; number += 1) {
    queue.offer('small', itemOf('small', number, 300), false);
    if (number % 30 === 0) queue.offer('large', itemOf('large', number, 9_000), false);
  }
  for (let steps = 0; steps < 3_000; steps += 1) finish();
  const bytesOf = (lane: string) =>
    sent.filter((item) => item.lane === lane).reduce((sum, { bytes }) => sum + bytes, 0);
  expect(Math.abs(bytesOf('small') - bytesOf('large'))).toBeLessThan(60_000);
});

test('a flood fills half of the room; the others’ half is left, and QoS 0 has less', () => {
  const { queue } = queueOf({ windowBytes: 1_000, queueBytes: 100_000 });
  const fill = (lane: string, modest: boolean): number => {
    let number = 0;
    while (queue.offer(lane, itemOf(lane, number, 1_000), modest)) number += 1;
    return number;
  };
  expect(fill('flood', false)).toBe(51); // one of them is under way
  expect(fill('other', false)).toBe(25);
  expect(fill('third', true)).toBe(8);
  expect(queue.figures).toEqual({ lanes: 3, items: 83, bytes: 83_000 });
});

test('any offers and ends: nothing is lost, each lane keeps its order, the bounds hold', () => {
  const step = fc.oneof(
    fc.record({ lane: fc.constantFrom('a', 'b', 'c', 'd'), bytes: fc.integer({ min: 1, max: 40_000 }) }),
    fc.constant(null),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const { queue, sent, finish } = queueOf({ windowBytes: 50_000, queueBytes: 400_000 });
      const taken: Item[] = [];
      for (const [number, given] of steps.entries()) {
        if (given === null) finish();
        else {
          const item = itemOf(given.lane, number, given.bytes);
          if (queue.offer(given.lane, item, false)) taken.push(item);
        }
        expect(queue.figures.bytes).toBeLessThanOrEqual(400_000);
      }
      while (finish());
      expect(queue.figures).toEqual({ lanes: 0, items: 0, bytes: 0 });
      for (const lane of ['a', 'b', 'c', 'd']) {
        const of = (items: readonly Item[]) => items.filter((item) => item.lane === lane);
        expect(of(sent)).toEqual(of(taken));
      }
    }),
    { numRuns: 300 },
  );
});
