// Calls that are made at once must not hold the event loop, and must leave a slow disk to the thread pool.
import { expect, test } from 'vitest';
import { DirectIo } from '../../../gateway/log/direct-io.ts';

const limits = {
  maxReadBytes: 1000,
  maxWriteBytes: 100,
  turnMs: 1,
  slowReadMs: 0.5,
  slowWriteMs: 2,
  poolMs: 50,
};

/** With a clock that goes on only when told. */
function made() {
  let nowMs = 1_000;
  const io = new DirectIo(limits, () => nowMs);
  const pass = (ms: number) => {
    nowMs += ms;
  };
  const read = (length: number, tookMs = 0) =>
    io.read(
      length,
      () => {
        pass(tookMs);
        return 'now';
      },
      async () => 'pool',
    );
  const write = (length: number, tookMs = 0) => io.write(length, () => pass(tookMs));
  return { io, pass, read, write };
}

test('what is small is done at once, what is large by the pool', async () => {
  const { io, read, write } = made();
  expect(read(1000)).toBe('now');
  expect(await read(1001)).toBe('pool');
  expect(write(100)).toBe(true);
  expect(write(101)).toBe(false);
  const fails = () => {
    throw new Error('EIO');
  };
  expect(() => io.read(1, fails, async () => {})).toThrow('EIO');
  expect(() => io.write(1, fails)).toThrow('EIO');
});

test('reads for longer than a turn may be held go on in the next one', async () => {
  const { read } = made();
  let turns = 0;
  setImmediate(() => {
    turns += 1;
  });
  for (const _ of [1, 2, 3]) expect(read(1, 0.4)).toBe('now');
  const late = read(1, 0.4);
  expect(late).toBeInstanceOf(Promise);
  expect(await late).toBe('now');
  expect(turns).toBe(1);
});

test('after a slow read the pool has the next reads, after a slow write the next writes, for a while', async () => {
  const { pass, read, write } = made();
  expect(read(1, 0.6)).toBe('now');
  expect(await read(1)).toBe('pool');
  expect(write(1)).toBe(true);
  pass(50);
  expect(await read(1)).toBe('now');
  expect(write(1, 3)).toBe(true);
  expect(write(1)).toBe(false);
  pass(50);
  expect(write(1)).toBe(true);
});
