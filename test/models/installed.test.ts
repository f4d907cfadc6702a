// An installation without onnxruntime-node, as npm leaves it where the package's own install script failed: the gateway runs, and
// says what it goes without; a model that somebody asked for by name is not left out silently.
import { rmSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { tempFolder } from '../gateway/log/records.ts';
import { startGateway } from '../support/processes.ts';

const WITHOUT = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  registerHooks({ resolve(name, context, next) {
    if (name === 'onnxruntime-node') throw new Error('not installed');
    return next(name, context);
  } });`)}`;

function start(yaml: string) {
  const dataDir = tempFolder();
  onTestFinished(() => rmSync(`${dataDir}.yaml`, { force: true }));
  return startGateway({ dataDir, yaml, nodeOptions: ['--import', WITHOUT] });
}

test('the default model is left out with a warning, and records are taken', async () => {
  const gateway = await start('');
  try {
    expect(gateway.output()).toContain('onnxruntime-node is not installed: no model runs');
    expect(gateway.output()).toContain('ONNXRUNTIME_NODE_INSTALL=skip');
    const body = '{"value":1}';
    const answer = await fetch(`${gateway.url}/api/v1/ingest/plant/p/level`, { method: 'POST', body });
    expect(answer.status).toBe(202);
  } finally {
    expect(await gateway.kill()).toMatchObject({ code: 0 });
  }
});

test('a model that is configured and not optional is missed at the start', async () => {
  await expect(start('models: [{name: mine}]')).rejects.toThrow(
    /the model mine is configured, and onnxruntime-node is not installed\n.*ONNXRUNTIME_NODE_INSTALL=skip.*optional: true/,
  );
});
