// Runs the shipped model over the simulated plant, offline and seeded: most faults are found soon, few alerts are false.
import { describe, expect, test } from 'vitest';
import { fleetOf } from '../../firmware-sim/plant.ts';
import { Scenario } from '../../firmware-sim/scenario.ts';
import { templatesSchema } from '../../gateway/codecs/config.ts';
import { TopicTemplates } from '../../gateway/codecs/template.ts';
import { offset } from '../../ledger/format/brand.ts';
import { SOURCE, type TelemetryRecord } from '../../ledger/format/record.ts';
import { modelsConfigSchema } from '../../models/config.ts';
import { loadModel } from '../../models/registry.ts';
import { openRuntime } from '../../models/runtime.ts';
import { Scorer } from '../../models/stage.ts';

const START_MS = 1_763_600_000_000;
const DAY_MS = 600_000;
const RATE = 2;

interface Alert {
  readonly device: string;
  readonly field: string;
  readonly eventMs: number;
}

/** Everything the default configuration makes of `minutes` of a plant of 40 devices. */
async function watch(options: { seed: number; minutes: number; faults: boolean }) {
  const scenario = new Scenario({
    seed: options.seed,
    devices: fleetOf(40, ['mqtt']),
    startMs: START_MS,
    ratePerDevice: RATE,
    dayMs: DAY_MS,
    startHour: 9,
    ...(options.faults ? {} : { faults: null }),
  });
  const model = await loadModel('forecaster-64');
  const runtime = await openRuntime(model);
  const scorer = new Scorer({
    config: modelsConfigSchema.parse(undefined)[0]!,
    templates: new TopicTemplates(templatesSchema.parse(undefined)),
    sidecar: model.sidecar,
    runtime,
  });
  const alerts: Alert[] = [];
  const endMs = START_MS + options.minutes * 60_000;
  const encoder = new TextEncoder();
  let records: TelemetryRecord[] = [];
  for (let at = 0; scenario.nextAtMs < endMs; at += 1) {
    const { device, topic, sequence, atMs, payload } = scenario.next();
    records.push({
      offset: offset(at),
      eventMs: atMs,
      receivedMs: atMs + 3,
      topic,
      device,
      sequence,
      source: SOURCE.mqtt,
      contentType: '',
      headers: [],
      payload: encoder.encode(payload),
      salt: new Uint8Array(0),
    });
    if (records.length === 500 || scenario.nextAtMs >= endMs) {
      for (const result of await scorer.feed(records)) {
        alerts.push({
          device: result.device,
          eventMs: result.eventMs,
          field: (result.payload as Alert).field,
        });
      }
      records = [];
    }
  }
  await runtime.close();
  // A fault that begins with the last records cannot be found any more.
  const faults = scenario.faultsBegun.filter((fault) => fault.fromMs < endMs - 30_000);
  return { alerts, faults, figures: scorer.figures(), deviceHours: (40 * options.minutes) / 60 };
}

describe('the shipped model on the simulated plant', () => {
  test('finds most faults within 30 s, and shows the first within three minutes', async () => {
    let found = 0;
    let inTime = 0;
    let all = 0;
    let falseAlerts = 0;
    let total = 0;
    for (const seed of [11, 12]) {
      const { alerts, faults } = await watch({ seed, minutes: 10, faults: true });
      for (const fault of faults) {
        const hit = alerts.find(
          ({ device, eventMs }) =>
            device === fault.device && eventMs >= fault.fromMs && eventMs < fault.toMs + 10_000,
        );
        all += 1;
        if (hit) found += 1;
        if (hit && hit.eventMs - fault.fromMs <= 30_000) inTime += 1;
      }
      // What follows a fault by less than a window, its end among it, is its echo.
      const echoMs = (64 / RATE) * 1000;
      falseAlerts += alerts.filter(
        ({ device, eventMs }) =>
          !faults.some(
            (fault) => fault.device === device && eventMs >= fault.fromMs && eventMs < fault.toMs + echoMs,
          ),
      ).length;
      total += alerts.length;
      expect(alerts[0]!.eventMs - START_MS).toBeLessThan(180_000);
    }
    expect(all).toBeGreaterThan(30);
    expect(found / all).toBeGreaterThan(0.9);
    expect(inTime / all).toBeGreaterThan(0.9);
    expect(falseAlerts / total).toBeLessThan(0.4);
  });

  test('raises few alerts while nothing is wrong', async () => {
    const { alerts, figures, deviceHours } = await watch({ seed: 13, minutes: 15, faults: false });
    expect(figures.scored).toBeGreaterThan(100_000);
    expect(alerts.length / deviceHours).toBeLessThan(4);
  });
});
