// Signals that come while the gateway is still starting: obeyed once it is up, never its end out of order.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { ended, freePort, ROOT } from '../support/processes.ts';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function starting() {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-signals-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const dataDir = join(folder, 'data');
  mkdirSync(dataDir);
  const file = join(folder, 'tidemark.yaml');
  writeFileSync(file, `dataDir: ${dataDir}\norigin: test.example.com/gateway\nwindows: []\nmodels: []\n`);
  const ports = {
    TIDEMARK_MQTT_PORT: String(await freePort()),
    TIDEMARK_HTTP_PORT: String(await freePort()),
  };
  const child = spawn(process.execPath, [join(ROOT, 'bin', 'tidemark.ts'), 'serve', '--config', file], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...ports },
  });
  cleanups.push(() => child.kill('SIGKILL'));
  let output = '';
  child.stderr.on('data', (data: Buffer) => {
    output += data.toString();
  });
  // The first thing it does to its data directory, long before it listens.
  await vi.waitFor(() => expect(readdirSync(dataDir)).not.toEqual([]), { timeout: 30_000, interval: 5 });
  return { child, output: () => output };
}

test('SIGHUP while it starts: the configuration is read again once it is up', async () => {
  const { child, output } = await starting();
  child.kill('SIGHUP');
  await vi.waitFor(() => expect(output()).toContain('the configuration was read again'), { timeout: 30_000 });
  child.kill('SIGTERM');
  expect(await ended(child)).toEqual({ code: 0, signal: null });
}, 60_000);

test('SIGTERM while it starts: it stops in order once it is up', async () => {
  const { child, output } = await starting();
  child.kill('SIGTERM');
  expect(await ended(child)).toEqual({ code: 0, signal: null });
  expect(output()).toContain('"stopped"');
}, 60_000);
