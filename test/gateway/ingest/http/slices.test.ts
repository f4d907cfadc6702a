// Long work in slices, and batches whose parts are read one by one: what is taken as an array must be one.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type BatchItems, jsonArrayItems } from '../../../../gateway/ingest/http/batch.ts';
import { type Sliced, Slices } from '../../../../gateway/ingest/http/slices.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('work whose end begins other long work leaves no turn behind without any', async () => {
  let nowMs = 0;
  const slices = new Slices(() => {
    nowMs += 5;
    return nowMs;
  });
  function* work(): Sliced<void> {
    for (let step = 0; step < 3; step += 1) yield;
  }
  const failures: unknown[] = [];
  const failed = (error: unknown) => failures.push(error);
  const ended = new Promise<void>((resolve) => {
    slices.run(work(), () => slices.run(work(), resolve, failed), failed);
  });
  await ended;
  await turn();
  await turn();
  expect(slices.waiting).toBe(0);
  expect(failures).toEqual([]);
});

test('long work takes turns, in order; others run in between; a failure is its own', async () => {
  let nowMs = 0;
  const slices = new Slices(() => nowMs);
  const steps: string[] = [];
  function* work(name: string, count: number): Sliced<string> {
    for (let step = 1; step <= count; step += 1) {
      steps.push(`${name}${step}`);
      nowMs += 3;
      if (name === 'bad' && step === 3) throw new Error('broken');
      if (step < count) yield;
    }
    return name;
  }
  const done: string[] = [];
  const begin = (name: string, count: number) =>
    slices.run(
      work(name, count),
      (result) => done.push(result),
      (error) => done.push((error as Error).message),
    );
  begin('short', 1);
  expect(done).toEqual(['short']);
  begin('a', 5);
  begin('bad', 5);
  expect(slices.waiting).toBe(2);
  expect(steps).toEqual(['short1', 'a1', 'a2', 'bad1', 'bad2']);
  await turn();
  expect(steps.slice(5)).toEqual(['a3', 'a4']);
  while (slices.waiting > 0) await turn();
  expect(steps.slice(7)).toEqual(['bad3', 'a5']);
  expect(done).toEqual(['short', 'broken', 'a']);
});

function arrayItems(text: string): BatchItems {
  const work = jsonArrayItems(Buffer.from(text), { maxBatchLines: 100, maxPayloadBytes: 10_000 });
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

function parsedArray(text: string): unknown[] | null {
  try {
    const value = JSON.parse(text) as unknown;
    return Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

test('an array is taken exactly where JSON.parse takes it, element by element', () => {
  const piece = fc.constantFrom(
    ...'[]{},:" \\\n1-.eatrufnls',
    '[1]',
    '{"a":[]}',
    'true',
    'null',
    '"]"',
    '1.0',
  );
  const torn = fc.array(piece, { maxLength: 12 }).map((pieces) => `[${pieces.join('')}]`);
  const whole = fc.array(fc.jsonValue({ maxDepth: 3 })).map((values) => JSON.stringify(values, null, 1));
  const cut = fc.tuple(whole, fc.nat(), fc.nat()).map(([text, from, size]) => {
    const at = from % (text.length + 1);
    return text.slice(0, at) + text.slice(at + 1 + (size % 3));
  });
  fc.assert(
    fc.property(fc.oneof(torn, whole, cut), (text) => {
      const items = arrayItems(text);
      const expected = parsedArray(text);
      if (expected === null) expect(items).toBeTypeOf('string');
      else expect(items).toMatchObject(expected.map((json) => ({ json, problem: null })));
    }),
    { numRuns: 3_000 },
  );
});
