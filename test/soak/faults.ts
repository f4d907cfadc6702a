// The fault pass of the soak: two faults in a row. Every disk that one fault leaves (test/fault) is opened and written to
// again while a second fault strikes; which, and in what order, is drawn from a seed, until the time is up.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Fault, faultsOf, nameOf } from '../fault/fault-fs.ts';
import { copyOf, few, type Scenario, scenarios } from '../fault/scenario.ts';
import { Sweep } from '../fault/sweep.ts';
import { Random } from '../fuzz/mutate.ts';

interface First {
  readonly scenario: Scenario;
  readonly at: number;
  readonly fault: Fault;
  readonly name: string;
}

/** Torn writes differ in the byte alone, and single faults are swept with every byte: one of them stands for all here. */
const isSecond = (fault: Fault) => fault.kind !== 'torn' && fault.kind !== 'short';

async function allFirst(folder: string, random: Random): Promise<First[]> {
  const firsts: First[] = [];
  for (const scenario of scenarios(folder)) {
    const { fs } = await new Sweep(scenario, folder).run(null);
    for (const [at, call] of fs.calls.entries())
      for (const fault of faultsOf(call))
        firsts.push({
          scenario,
          at,
          fault,
          name: `${scenario.name}: call ${at} (${call.name}) ${nameOf(fault)}`,
        });
  }
  for (let last = firsts.length - 1; last > 0; last--) {
    const other = random.below(last + 1);
    [firsts[last], firsts[other]] = [firsts[other]!, firsts[last]!];
  }
  return firsts;
}

/** False when a promise was broken; says by which two faults. */
export async function soakFaults(seconds: number, seed: number): Promise<boolean> {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tidemark-soak-'));
  const deadline = performance.now() + seconds * 1_000;
  try {
    const random = new Random(seed);
    const firsts = await allFirst(folder, random);
    console.log(
      `soak: a second fault after each of ${firsts.length} first ones, at most ${seconds} s, seed ${seed}`,
    );
    let done = 0;
    let cases = 0;
    let disks = 0;
    for (const { scenario, at, fault, name } of firsts) {
      if (performance.now() > deadline) break;
      const left = await new Sweep(scenario, folder).run({ at, fault });
      const begin = async () => ({ disk: left.disk.fork(), books: copyOf(left.books) });
      const second = new Sweep({ name: `${name}; then`, begin, run: few }, folder);
      const { fs } = await second.run(null);
      // One in ten, so that many first faults get their turn; another seed draws others.
      await second.faults(fs.calls, (fault) => isSecond(fault) && random.below(10) === 0);
      const result = second.result(fs.calls.length);
      done += 1;
      cases += result.cases;
      disks += result.disks;
      for (const failure of result.failures) console.error(`soak: ${failure}`);
      if (result.failures.length > 0) return false;
    }
    console.log(
      `soak: ${cases} cases after ${done} of ${firsts.length} first faults left ${disks} different disks, all sound`,
    );
    return true;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
