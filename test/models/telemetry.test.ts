// onnxruntime keeps a device id and a queue of reports in the home folder as soon as it may report: a process that runs a
// model in a worker, as the gateway does, must leave that folder empty.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const room = new URL('../../models/', import.meta.url);

/** Runs a model once in a worker of a process with a home of its own; what that process printed, and what is in the home. */
function runInWorker(main: string): { output: string; home: string[] } {
  const home = mkdtempSync(join(tmpdir(), 'tidemark-home-'));
  const worker = `
    import { loadModel } from '${room}registry.ts';
    import { lazyRuntime } from '${room}runtime.ts';
    const model = await loadModel('forecaster-64');
    const runtime = lazyRuntime(model);
    const answer = await runtime.run(new Float32Array(model.sidecar.seriesLength));
    console.log('answered', answer.length);
    await runtime.close();`;
  const code = `
    import { Worker } from 'node:worker_threads';
    import { withoutTelemetry } from '${room}telemetry.ts';
    ${main}
    const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(worker)})));
    worker.on('error', (error) => console.log(error.message));`;
  // Where tests of its own or of others run it keeps silent: it must take this for a machine in service.
  const { CI: _, ORT_RUNNING_UNIT_TESTS: __, ORT_DISABLE_TELEMETRY: ___, ...env } = process.env;
  try {
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', code], {
      env: { ...env, HOME: home, XDG_CACHE_HOME: join(home, 'cache') },
      encoding: 'utf8',
      timeout: 60_000,
    });
    return { output, home: readdirSync(home, { recursive: true }).map(String) };
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

test('a model runs in a worker and onnxruntime leaves nothing to report behind', () => {
  const { output, home } = runInWorker('withoutTelemetry();');
  expect(output).toBe('answered 3\n');
  expect(home).toEqual([]);
});

test('a worker of a process that has not forbidden reports refuses to load onnxruntime', () => {
  const { output, home } = runInWorker('');
  expect(output).toMatch(/ORT_DISABLE_TELEMETRY is not set/);
  expect(home).toEqual([]);
});
