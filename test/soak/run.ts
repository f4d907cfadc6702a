// `npm run soak`: the long tests. --kills: kill −9 of the gateway under load, 100 rounds; --faults: two faults in a row on
// the log's disk, 10 minutes; both when neither is named. --short: 5 rounds and 10 s, as .ci/run has it.
import { parseArgs } from 'node:util';
import { soakFaults } from './faults.ts';
import { soakKills } from './kill.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'boolean' },
    faults: { type: 'boolean' },
    short: { type: 'boolean' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string' },
  },
});
const both = !values.kills && !values.faults;
const rounds = Number(values.rounds ?? (values.short ? 5 : 100));
const seconds = Number(values.seconds ?? (values.short ? 10 : 600));
const seed = Number(values.seed ?? (values.short ? 1 : Date.now() % 1_000_000));

if ((both || values.kills) && !(await soakKills(rounds, seed))) process.exitCode = 1;
if ((both || values.faults) && !(await soakFaults(seconds, seed))) process.exitCode = 1;
