// Starts the windows and model stages as what they are in a gateway: worker threads beside one writer.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { templatesSchema } from '../../../gateway/codecs/config.ts';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';
import { StageHost, type StageLogger } from '../../../gateway/stage/host.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import { windowsConfigSchema } from '../../../gateway/windows/config.ts';
import { type RecordInput, SOURCE, type TelemetryRecord } from '../../../ledger/format/record.ts';
import { modelsConfigSchema } from '../../../models/config.ts';
import { withoutTelemetry } from '../../../models/telemetry.ts';

const START_MS = 1_763_600_000_000;

/** Between 0 and 1, the same for the same number. */
const noise = (at: number) => Math.abs(Math.sin(at * 12.9898) * 43758.5453) % 1;

function reading(at: number): RecordInput {
  return {
    eventMs: START_MS + at * 500,
    receivedMs: START_MS + at * 500,
    topic: 'plant/pump-1/vibration',
    device: 'pump-1',
    sequence: at,
    source: SOURCE.mqtt,
    contentType: '',
    headers: [],
    payload: new TextEncoder().encode(JSON.stringify({ value: at === 150 ? 9 : noise(at) })),
    salt: new Uint8Array(0),
  };
}

test('both stages answer through the log and save their cursors when told to stop', async () => {
  withoutTelemetry();
  const dataDir = mkdtempSync(join(tmpdir(), 'tidemark-workers-'));
  const log = await openLog({ dataDir, config: logConfigSchema.parse({ preallocateBytes: 0 }) });
  const failures: unknown[] = [];
  const silent = () => {};
  const logger: StageLogger = {
    debug: silent,
    info: silent,
    warn: (facts) => failures.push(facts),
    error: (facts) => failures.push(facts),
  };
  const templates = templatesSchema.parse(undefined);
  const shared = { appender: log, logger };
  const init = { dataDir, durableEnd: log.durableEnd };
  const hosts = [
    new StageHost({
      ...shared,
      entry: new URL('../../../gateway/windows/worker.ts', import.meta.url),
      init: {
        ...init,
        name: 'windows',
        config: {
          windows: windowsConfigSchema.parse([{ name: 'm', sizeMs: 10_000, idleMs: 3_600_000 }]),
          templates,
        },
      },
    }),
    new StageHost({
      ...shared,
      entry: new URL('../../../models/worker.ts', import.meta.url),
      init: {
        ...init,
        name: 'model:anomaly',
        config: { model: modelsConfigSchema.parse(undefined)[0]!, templates },
      },
    }),
  ];
  try {
    for (const host of hosts) host.start();
    const reader = await log.openReader();
    await log.appendAll(Array.from({ length: 240 }, (_, at) => reading(at)));
    const seen: TelemetryRecord[] = [];
    // 120 s of data: ten windows are past their end and lateness, and the spike is one alert .
    const enough = () =>
      seen.filter(({ source }) => source === SOURCE.window).length >= 10 &&
      seen.some(({ source }) => source === SOURCE.model);
    while (!enough()) {
      const records = await reader.fetch(((seen.at(-1)?.offset ?? -1) + 1) as TelemetryRecord['offset'], {
        maxWaitMs: 5_000,
      });
      expect(records.length, `nothing more came: ${JSON.stringify(failures)}`).toBeGreaterThan(0);
      seen.push(...records);
    }
    const anomaly = seen.find(({ source }) => source === SOURCE.model)!;
    expect(JSON.parse(new TextDecoder().decode(anomaly.payload))).toMatchObject({
      field: 'vibration',
      value: 9,
      offset: 150,
    });
    await reader.close();
    await Promise.all(hosts.map((host) => host.stop()));
    const state = new StateStore(dataDir);
    const cursors = state.cursors();
    state.close();
    expect(cursors.map(({ consumer }) => consumer)).toEqual(['model:anomaly', 'windows']);
    for (const { next } of cursors) expect(next).toBeGreaterThanOrEqual(240);
    expect(failures).toEqual([]);
    expect(hosts[0]!.figures).toMatchObject({
      emitted: 10,
      late: 0,
      openSeries: 2,
      next: expect.any(Number),
    });
    expect(hosts[1]!.figures).toMatchObject({ scored: 177, series: 1, next: expect.any(Number) });
  } finally {
    await Promise.all(hosts.map((host) => host.stop(0)));
    await log.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
});
