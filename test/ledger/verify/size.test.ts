// The published verifier stays small and portable: one bundle of `tidemark/verify` below 40 kB, without a word of Node.
import { join } from 'node:path';
import { build, type Rolldown } from 'vite';
import { expect, test } from 'vitest';

const MAX_BYTES = 40_000;

test('tidemark/verify, bundled and minified, is below 40 kB', async () => {
  const built = await build({
    configFile: false,
    logLevel: 'silent',
    root: join(import.meta.dirname, '../../..'),
    build: {
      write: false,
      minify: true,
      target: 'es2022',
      lib: { entry: 'ledger/verify/index.ts', formats: ['iife'], name: 'tidemarkVerify', fileName: 'verify' },
    },
  });
  const [output] = (Array.isArray(built) ? built : [built]) as Rolldown.RolldownOutput[];
  const [chunk, ...more] = output!.output;
  expect(more).toEqual([]);
  expect(Buffer.byteLength(chunk.code)).toBeLessThan(MAX_BYTES);
  expect(chunk.code).not.toMatch(/\b(require|process|Buffer)\b/);
});
