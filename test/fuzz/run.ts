// `npm run fuzz [-- --seconds N --seed S --target NAME]`: damages good input from a seed and holds every decoder to its
// claim. A failure prints the seed, keeps the input in a file, and exits 1; `--target NAME --input FILE` tries it again.
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { formatTargets } from './format-targets.ts';
import { ingestTargets } from './ingest-targets.ts';
import { laneTarget } from './lane-target.ts';
import { logTargets } from './log-targets.ts';
import { mqttDecoderTarget, mqttTarget } from './mqtt-target.ts';
import { damaged, Random } from './mutate.ts';
import { sparkplugTarget } from './sparkplug-target.ts';
import type { Target } from './target.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    target: { type: 'string' },
    input: { type: 'string' },
  },
});
const seconds = Number(values.seconds);
const seed = Number(values.seed ?? Date.now() % 1_000_000);
if (!(seconds > 0) || !Number.isSafeInteger(seed)) {
  console.error('usage: npm run fuzz -- [--seconds N] [--seed N] [--target NAME [--input FILE]]');
  process.exit(2);
}

const everything: Target[] = [
  ...formatTargets(),
  ...ingestTargets(),
  ...(await logTargets()),
  sparkplugTarget(),
  mqttDecoderTarget(),
  await mqttTarget(),
  await laneTarget(),
];
const targets = everything.filter(({ name }) => values.target === undefined || name === values.target);
if (targets.length === 0) {
  console.error(`fuzz: no such target; there are: ${everything.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

/** Each input is a function of seed, target and number alone, so a failing one can be made again. */
function inputOf(target: Target, number: number): { bytes: Buffer; isGood: boolean } {
  const place = everything.indexOf(target);
  return damaged(
    target.good,
    new Random(Math.imul(seed + 1, 2_654_435_761) ^ Math.imul(place + 1, 40_503) ^ number),
  );
}

async function failed(target: Target, number: number, bytes: Buffer, error: unknown): Promise<void> {
  const file = join(mkdtempSync(join(tmpdir(), 'tidemark-fuzz-failure-')), 'input');
  writeFileSync(file, bytes);
  console.error(
    `fuzz: ${target.name} does not hold for input ${number} of seed ${seed} (${bytes.length} bytes):`,
  );
  console.error(error instanceof Error ? error.stack : error);
  console.error(`fuzz: try again with \`npm run fuzz -- --target "${target.name}" --input ${file}\``);
  process.exitCode = 1;
}

/** Runs one target until `untilMs`; returns how many inputs it tried, or null when one failed. */
async function run(target: Target, untilMs: number): Promise<number | null> {
  let number = 0;
  while (performance.now() < untilMs) {
    const { bytes, isGood } = inputOf(target, number);
    try {
      await target.check(Buffer.from(bytes), isGood);
    } catch (error) {
      await failed(target, number, bytes, error);
      return null;
    }
    number += 1;
  }
  return number;
}

try {
  if (values.input !== undefined) {
    const bytes = readFileSync(values.input);
    for (const target of targets) await target.check(bytes, false);
    console.log(`fuzz: holds for ${values.input}`);
  } else {
    const shares = targets.reduce((sum, { share = 1 }) => sum + share, 0);
    console.log(`fuzz: ${targets.length} targets, ${seconds} s, seed ${seed}`);
    for (const target of targets) {
      const budgetMs = (seconds * 1_000 * (target.share ?? 1)) / shares;
      const inputs = await run(target, performance.now() + budgetMs);
      if (inputs !== null) console.log(`fuzz: ${target.name}: ${inputs} inputs`);
    }
  }
} finally {
  for (const { close } of everything) await close?.();
}
