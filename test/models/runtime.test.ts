// Holds the shipped model in onnxruntime against what its training framework computed, and its sidecar to its word.
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { loadModel } from '../../models/registry.ts';
import { BATCH, openRuntime } from '../../models/runtime.ts';

interface Vectors {
  readonly model: string;
  readonly version: string;
  readonly cases: readonly { readonly window: number[]; readonly deviations: number[] }[];
}

const vectors = JSON.parse(
  readFileSync(new URL('../vectors/models/forecaster-64.json', import.meta.url), 'utf8'),
) as Vectors;
const model = await loadModel('forecaster-64');
const runtime = await openRuntime(model);
afterAll(() => runtime.close());

test('the shipped model answers as it did in training', async () => {
  expect([model.sidecar.name, model.sidecar.version]).toEqual([vectors.model, vectors.version]);
  const rows = Float32Array.from(vectors.cases.flatMap(({ window }) => window));
  const answer = await runtime.run(rows);
  const expected = vectors.cases.flatMap(({ deviations }) => deviations);
  expect(answer.length).toBe(expected.length);
  for (const [at, value] of expected.entries()) {
    expect(Math.abs(answer[at]! - value)).toBeLessThan(1e-3 * Math.max(1, Math.abs(value)));
  }
});

test('the vectors hold a spike, a stuck and a shifted series, and the model tells them from the others', () => {
  const [, spike, stuck, shift] = vectors.cases.map(({ deviations }) => deviations);
  expect(spike![0]).toBeGreaterThan(10);
  expect(stuck![2]).toBeLessThan(-8);
  expect(shift![1]).toBeGreaterThan(5);
});

test('a window scores bit for bit the same alone, in a full batch and at any place in it', async () => {
  const { window } = vectors.cases[0]!;
  const alone = [...(await runtime.run(Float32Array.from(window)))];
  const others = vectors.cases.map((given) => given.window);
  for (let place = 0; place < BATCH; place += 1) {
    const rows = Array.from({ length: BATCH }, (_, row) =>
      row === place ? window : others[row % others.length]!,
    );
    const answer = await runtime.run(Float32Array.from(rows.flat()));
    expect([...answer.subarray(place * 3, place * 3 + 3)]).toEqual(alone);
  }
});

test('scale and level of a series change nothing', async () => {
  const { window } = vectors.cases[0]!;
  const [first, second] = [
    await runtime.run(Float32Array.from(window)).then((answer) => [...answer]),
    await runtime.run(Float32Array.from(window, (value) => value * 1e4)).then((answer) => [...answer]),
  ];
  for (const [at, value] of first!.entries()) expect(second![at]).toBeCloseTo(value, 2);
});

test('more than one batch, or part of a window, is a mistake of the caller', async () => {
  await expect(runtime.run(new Float32Array(64 * (BATCH + 1)))).rejects.toThrow(RangeError);
  await expect(runtime.run(new Float32Array(63))).rejects.toThrow(RangeError);
});

test('a model file that is not the one its sidecar describes is refused, as are unknown names and sidecars', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-model-'));
  try {
    const shipped = new URL('../../models/onnx/', import.meta.url);
    const url = pathToFileURL(`${folder}/`);
    await expect(loadModel('forecaster-64', url)).rejects.toMatchObject({ code: 'MODEL_UNKNOWN' });
    await expect(loadModel('../secret', url)).rejects.toMatchObject({ code: 'MODEL_UNKNOWN' });
    copyFileSync(new URL('forecaster-64.json', shipped), join(folder, 'forecaster-64.json'));
    const bytes = readFileSync(new URL('forecaster-64.onnx', shipped));
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(join(folder, 'forecaster-64.onnx'), bytes);
    await expect(loadModel('forecaster-64', url)).rejects.toMatchObject({ code: 'MODEL_CHANGED' });
    writeFileSync(join(folder, 'forecaster-64.json'), '{"name":"forecaster-64"}');
    await expect(loadModel('forecaster-64', url)).rejects.toMatchObject({ code: 'MODEL_SIDECAR' });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
