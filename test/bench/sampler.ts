// Loaded into a benchmarked process (`--import`): samples its main thread between two SIGUSR2 and writes the profile to
// the file BENCH_PROFILE names. Start-up, which would outweigh what is looked for, is left out.
import { renameSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { isMainThread } from 'node:worker_threads';

const INTERVAL_MICROSECONDS = 250;
const file = process.env.BENCH_PROFILE;

if (isMainThread && file !== undefined) {
  const session = new Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.setSamplingInterval', { interval: INTERVAL_MICROSECONDS });
  let sampling = false;
  process.on('SIGUSR2', () => {
    if (!sampling) session.post('Profiler.start');
    else
      session.post('Profiler.stop', (error, result) => {
        if (error !== null) throw error;
        // There, and whole, at once.
        writeFileSync(`${file}.part`, JSON.stringify(result.profile));
        renameSync(`${file}.part`, file);
      });
    sampling = !sampling;
  });
}
