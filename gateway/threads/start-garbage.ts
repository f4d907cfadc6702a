// Owns giving back, once in each thread, the memory that only starting needed: V8 lets it lie until as much again has been
// used, and a gateway at rest uses next to none. Takes some tens of milliseconds.
import { performance } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { type: 'major'; flavor: 'last-resort' }) => void;

const LOOK_EVERY_MS = 2_000;
/** Share of the time in which a thread at rest does something. */
const AT_REST = 0.1;

export function collectStartGarbage(): void {
  // Only a context made while the flag is set has `gc`. It stays set: several threads may be here at the same time.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as Collect;
  collect({ type: 'major', flavor: 'last-resort' });
}

/** For a worker: as soon as it has nothing to do. One that is always busy uses its garbage up by itself. */
export function collectOnceAtRest(): void {
  let before = performance.eventLoopUtilization();
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    if (utilization > AT_REST) return;
    clearInterval(timer);
    collectStartGarbage();
  }, LOOK_EVERY_MS);
  timer.unref();
}
