// `node docs/model/run.ts [--large]`: the protocol model, larger than what `npm test` runs. Prints one line a variant.
import { check } from './checker.ts';
import { LARGE, SMALL } from './variants.ts';

let bad = 0;
for (const { name, variant, finds } of process.argv.includes('--large') ? LARGE : SMALL) {
  const started = performance.now();
  const { states, steps, ...found } = check(variant, 20_000_000);
  const wrong = Object.entries(found).filter(
    ([what, path]) => (path !== null) !== finds.includes(what as never),
  );
  bad += wrong.length;
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  console.log(
    `${wrong.length === 0 ? 'ok  ' : 'FAIL'} ${name}: ${states} states, ${steps} steps, ${seconds} s`,
  );
  for (const [what, path] of Object.entries(found))
    if (path) console.log(`       ${what}: ${path.join(' → ')}`);
}
process.exitCode = bad === 0 ? 0 : 1;
