// Pressure on a running gateway: seen in status and metrics, and QoS 0 given up before those who wait for an answer.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Gateway, startGateway } from '../support/processes.ts';

interface Status {
  log: { end: number };
  rejected: Record<string, number>;
  pressure: { value: number; parts: Record<string, number> };
}

describe('pressure', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-pressure-'));
  let gateway: Gateway;

  beforeAll(async () => {
    // Any disk presses a little against a mebibyte; here that little is too much for QoS 0.
    const yaml =
      'windows: []\nmodels: []\npressure:\n  diskLeftBytes: 1048576\n  shedUnacknowledgedAt: 0.000000001\n';
    gateway = await startGateway({ dataDir: join(folder, 'data'), yaml });
  });
  afterAll(async () => {
    await gateway.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  const status = async () => (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as Status;

  test('QoS 0 is dropped first: counted, passed on, not stored; QoS 1 is stored', async () => {
    const client = await connectAsync(`mqtt://127.0.0.1:${gateway.mqttPort}`);
    try {
      const heard: string[] = [];
      client.on('message', (_topic, payload) => heard.push(payload.toString()));
      await client.subscribeAsync('plant/#');
      const before = (await status()).log.end;
      await client.publishAsync('plant/p-1/v', 'dropped', { qos: 0 });
      await client.publishAsync('plant/p-1/v', 'kept', { qos: 1 });
      await expect.poll(() => heard).toEqual(['dropped', 'kept']);
      const after = await status();
      expect(after.log.end).toBe(before + 1);
      expect(after.rejected['disk-full']).toBe(1);
      expect(after.pressure.value).toBe(after.pressure.parts.disk);
      expect(after.pressure.value).toBeGreaterThan(0);
      expect(after.pressure.value).toBeLessThan(1);
    } finally {
      await client.endAsync();
    }
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).toMatch(/^tidemark_pressure \d/m);
    expect(metrics).toMatch(/^tidemark_pressure_part\{part="disk"\} \d/m);
  });
});
