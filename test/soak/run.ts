// `npm run soak`: the long tests. `chaos`: a fleet of every protocol while faults of every kind strike, 10 minutes; `kills`:
// kill −9 of the gateway under load, 100 rounds; `faults`: two faults in a row on the log's disk, 10 minutes. Those named,
// or all. `overload`: 1,000 connections at three times the rate, 2 minutes, then a flood. --short: 3 minutes, 5 rounds,
// 10 s and 15 s, as .ci/run has it. `scenarios`, only when named: the library of simulated fleets and what each expects;
// --out keeps the reports. A failure prints the seed that repeats it.
import { parseArgs } from 'node:util';
import { soakChaos } from './chaos.ts';
import { soakFaults } from './faults.ts';
import { soakKills } from './kill.ts';
import { soakOverload } from './overload.ts';
import { soakScenarios } from './scenarios.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    short: { type: 'boolean' },
    seed: { type: 'string' },
    minutes: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    // Of chaos and scenarios: where the reports go, and which faults or scenarios (comma-separated); times the devices.
    out: { type: 'string' },
    only: { type: 'string' },
    scale: { type: 'string' },
    // Of overload: records per second the gateway is set to take.
    rate: { type: 'string', default: '4000' },
    // As `kills` and `faults`.
    kills: { type: 'boolean' },
    faults: { type: 'boolean' },
  },
});
const short = values.short === true;
const seed = Number(values.seed ?? (short ? 1 : Date.now() % 1_000_000));
const soaks: Record<string, () => Promise<boolean>> = {
  kills: () => soakKills(Number(values.rounds ?? (short ? 5 : 100)), seed),
  faults: () => soakFaults(Number(values.seconds ?? (short ? 10 : 600)), seed),
  overload: () => soakOverload(Number(values.seconds ?? (short ? 15 : 120)), Number(values.rate)),
  chaos: () =>
    soakChaos({
      seed,
      seconds: Number(values.minutes ?? (short ? 3 : 10)) * 60,
      ...(values.out !== undefined && { folder: values.out }),
      ...(values.only !== undefined && { only: values.only.split(',') }),
    }),
};
/** Ten minutes and more, on a machine that does nothing else: not among those that run unasked. */
const asked: typeof soaks = {
  scenarios: () =>
    soakScenarios({
      ...(values.only !== undefined && { only: values.only.split(',') }),
      ...(values.scale !== undefined && { scale: Number(values.scale) }),
      ...(values.seconds !== undefined && { seconds: Number(values.seconds) }),
      ...(values.out !== undefined && { keep: values.out }),
    }),
};
const known = { ...soaks, ...asked };
const named = [...positionals, ...(values.kills ? ['kills'] : []), ...(values.faults ? ['faults'] : [])];
const unknown = named.find((name) => !(name in known));
if (unknown !== undefined) {
  console.error(`soak: there is no soak ${unknown}; there are ${Object.keys(known).join(', ')}`);
  process.exit(2);
}
for (const name of named.length > 0 ? named : Object.keys(soaks))
  if (!(await known[name]!())) process.exitCode = 1;
