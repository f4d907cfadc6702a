// Owns giving back, once, the memory that only starting needed: V8 lets it lie until as much again has been used, and a
// gateway at rest uses next to none. Takes some tens of milliseconds, before the gateway says that it is ready.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { type: 'major'; flavor: 'last-resort' }) => void;

export function collectStartGarbage(): void {
  // Only a context made while the flag is set has `gc`; the gateway's own never does.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as Collect;
  setFlagsFromString('--no-expose-gc');
  collect({ type: 'major', flavor: 'last-resort' });
}
