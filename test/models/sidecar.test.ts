// What a model's sidecar must say: each field in turn missing or wrong is named.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readSidecar } from '../../models/sidecar.ts';

const SHIPPED = JSON.parse(
  readFileSync(new URL('../../models/onnx/forecaster-64.json', import.meta.url), 'utf8'),
);

test('the shipped one is read', () => {
  expect(readSidecar(JSON.stringify(SHIPPED))).toEqual(SHIPPED);
});

const tensor = SHIPPED.input;
test.each<[string, Record<string, unknown>]>([
  ['name', { name: 5 }],
  ['version', { version: undefined }],
  ['kind', { kind: 'oracle' }],
  ['file', { file: '../secret.onnx' }],
  ['sha256', { sha256: 'A'.repeat(64) }],
  ['input', { input: null }],
  ['input', { input: { ...tensor, type: 'float64' } }],
  ['input', { input: { ...tensor, shape: ['batch', 64, 1] } }],
  ['input', { input: { ...tensor, shape: ['batch', 0.5] } }],
  ['input', { input: { ...tensor, shape: ['batch', 32] } }],
  ['output', { output: { ...tensor, shape: [3, 'batch'] } }],
  ['seriesLength', { seriesLength: 7 }],
  ['seriesLength', { seriesLength: 4097 }],
  ['channels', { channels: [] }],
  ['channels', { channels: ['a', 2, 'c'] }],
  ['channels', { channels: ['a', 'b'] }],
  ['spread', { spread: [1, 1, 0] }],
  ['spread', { spread: [1, 1] }],
  ['threshold', { threshold: null }],
])('%s: %j is refused', (field, change) => {
  const read = readSidecar(JSON.stringify({ ...SHIPPED, ...change }));
  expect(read).toEqual({ problem: expect.stringContaining(field) });
});

test.each(['', '[]x', 'null', '7', '[]'])('%j is no sidecar', (text) => {
  expect(readSidecar(text)).toEqual({ problem: expect.any(String) });
});
