// Owns the tests of the fault files: one for each scenario chosen, and one line with the number of cases.
import { writeSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { tempFolder } from '../gateway/log/records.ts';
import { type Scenario, scenarios } from './scenario.ts';
import { sweep } from './sweep.ts';

export function sweptTests(isChosen: (scenario: Scenario) => boolean): void {
  const began = performance.now();
  const counts = { calls: 0, cases: 0, disks: 0 };
  afterAll(() => {
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const { calls, cases, disks } = counts;
    writeSync(
      1,
      `fault: ${cases} cases over ${calls} calls left ${disks} different disks, each opened and checked; ${seconds} s\n`,
    );
  });
  for (const { name } of scenarios('/').filter(isChosen)) {
    test(name, async () => {
      const folder = tempFolder();
      const result = await sweep(scenarios(folder).find((scenario) => scenario.name === name)!, folder);
      counts.calls += result.calls;
      counts.cases += result.cases;
      counts.disks += result.disks;
      expect(result.failures.join('\n\n')).toBe('');
    }, 300_000);
  }
}
