// Owns the model stage: values of records become windows of series, windows are scored in batches, scores above the
// threshold become records. Refuses to decide (anomaly.ts) and to know how results come to stand in the log once.

import { isClockFlagged } from '../gateway/codecs/clock.ts';
import type { TemplatesConfig } from '../gateway/codecs/config.ts';
import { numericFields } from '../gateway/codecs/fields.ts';
import { TopicTemplates } from '../gateway/codecs/template.ts';
import { topicMatcher } from '../gateway/codecs/topic-matcher.ts';
import { type Clock, systemClock } from '../gateway/stage/clock.ts';
import type { DerivedResult } from '../gateway/stage/derived.ts';
import { type Derivation, runDerivation } from '../gateway/stage/deriving.ts';
import { inputTopic } from '../gateway/stage/inputs.ts';
import type { StageContext, StageFigures } from '../gateway/stage/types.ts';
import { SOURCE, type TelemetryRecord } from '../ledger/format/record.ts';
import { type JudgeSettings, judge } from './anomaly.ts';
import type { ModelConfig } from './config.ts';
import { type Series, SeriesStore, writeWindow } from './features.ts';
import { loadModel } from './registry.ts';
import { BATCH, lazyRuntime, type Runtime } from './runtime.ts';
import { decodeSeries, encodeSeries } from './series-state.ts';
import type { ModelSidecar } from './sidecar.ts';

export interface ModelStageConfig {
  readonly model: ModelConfig;
  /** `ingest.templates`: they name a record's fields. */
  readonly templates: TemplatesConfig;
}

/** Longer names are no measurements of a plant; they would only fill memory and results. */
const MAX_FIELD_CHARS = 256;
const TIMINGS_KEPT = 512;

export interface ScorerOptions {
  readonly config: ModelConfig;
  readonly templates: TopicTemplates;
  readonly sidecar: ModelSidecar;
  readonly runtime: Pick<Runtime, 'run'>;
  /** Milliseconds, monotonic; measures inference and decides nothing. */
  readonly timer?: () => number;
}

/** One window waiting for its turn in a batch. */
interface Pending {
  readonly record: TelemetryRecord;
  readonly field: string;
  readonly value: number;
  readonly series: Series;
}

/** From records to anomalies: a function of the records in order (and of the model). */
export class Scorer implements Derivation {
  readonly #options: ScorerOptions;
  readonly #settings: JudgeSettings;
  readonly #matches: (topic: string) => boolean;
  readonly #store: SeriesStore;
  readonly #windows: Float32Array;
  readonly #step: number;
  #pending: Pending[] = [];
  #scored = 0;
  #anomalies = 0;
  #skipped = 0;
  readonly #timings: number[] = [];

  constructor(options: ScorerOptions) {
    const { config, sidecar } = options;
    this.#options = options;
    this.#settings = {
      spread: sidecar.spread,
      threshold: config.threshold ?? sidecar.threshold,
      warmupRecords: config.warmupRecords,
      refractoryRecords: config.refractoryRecords,
    };
    this.#matches = topicMatcher(config.topics);
    this.#store = new SeriesStore({ ...config, length: sidecar.seriesLength, spread: sidecar.spread });
    this.#windows = new Float32Array(BATCH * sidecar.seriesLength);
    this.#step = sidecar.channels.indexOf('step');
  }

  async feed(records: readonly TelemetryRecord[]): Promise<DerivedResult[]> {
    const results: DerivedResult[] = [];
    for (const record of records) {
      const topic = inputTopic(record);
      if (topic === null || !this.#matches(topic)) continue;
      // A series goes by event time: one wrong clock would make all that follows late.
      if (isClockFlagged(record)) {
        this.#skipped += 1;
        continue;
      }
      let fields = 0;
      for (const [field, value] of numericFields(record, this.#options.templates)) {
        fields += 1;
        if (fields > this.#options.config.maxFields || field.length > MAX_FIELD_CHARS) this.#skipped += 1;
        else this.#add(record, field, value);
        if (this.#pending.length === BATCH) await this.#score(results);
      }
    }
    await this.#score(results);
    return results;
  }

  #add(record: TelemetryRecord, field: string, value: number): void {
    const added = this.#store.add(record.device, field, value, record.eventMs, record.receivedMs);
    if (added.kind === 'skipped') this.#skipped += 1;
    if (added.kind !== 'window') return;
    const { series } = added;
    const at = this.#pending.length * this.#options.sidecar.seriesLength;
    // Copied out now: the next value of this series may come before the batch is full.
    if (writeWindow(series, this.#windows, at))
      this.#pending.push({ record, field, value: series.newest, series });
  }

  async #score(results: DerivedResult[]): Promise<void> {
    const pending = this.#pending;
    if (pending.length === 0) return;
    const { runtime, sidecar, timer = () => performance.now() } = this.#options;
    const channels = sidecar.channels.length;
    const startedMs = timer();
    const deviations = await runtime.run(this.#windows.subarray(0, pending.length * sidecar.seriesLength));
    this.#timings.push(timer() - startedMs);
    if (this.#timings.length > TIMINGS_KEPT) this.#timings.shift();
    for (const [row, { record, field, value, series }] of pending.entries()) {
      const own = deviations.subarray(row * channels, (row + 1) * channels);
      // Exactly zero is off, closed or night: that it stays there is no news, only that it fell there.
      const only = value === 0 && this.#step >= 0 ? this.#step : undefined;
      const verdict = judge(series.calibration, own, this.#settings, only);
      if (verdict.anomaly) results.push(this.#result(record, field, value, verdict.score, verdict.channel));
    }
    this.#scored += pending.length;
    this.#pending = [];
  }

  #result(
    record: TelemetryRecord,
    field: string,
    value: number,
    score: number,
    channel: number,
  ): DerivedResult {
    const { config, sidecar } = this.#options;
    this.#anomalies += 1;
    return {
      topic: `$tidemark/anomalies/${config.name}`,
      device: record.device,
      key: `${record.offset}/${field}`,
      eventMs: record.eventMs,
      payload: {
        model: sidecar.name,
        version: sidecar.version,
        field,
        score: Math.round(score * 1000) / 1000,
        threshold: this.#settings.threshold,
        value,
        offset: record.offset,
        sign: sidecar.channels[channel],
      },
    };
  }

  figures(): StageFigures {
    const sorted = this.#timings.toSorted((a, b) => a - b);
    const quantile = (share: number) =>
      Math.round((sorted[Math.floor(share * sorted.length)] ?? 0) * 1000) / 1000;
    return {
      scored: this.#scored,
      anomalies: this.#anomalies,
      skipped: this.#skipped,
      series: this.#store.size,
      forgotten: this.#store.forgotten,
      inferenceMsP50: quantile(0.5),
      inferenceMsP99: quantile(0.99),
    };
  }

  get #modelName(): string {
    return `${this.#options.sidecar.name} ${this.#options.sidecar.version}`;
  }

  serialise(): Uint8Array {
    const { sidecar } = this.#options;
    return encodeSeries({
      model: this.#modelName,
      length: sidecar.seriesLength,
      channels: sidecar.channels.length,
      series: this.#store.entries(),
    });
  }

  /** Takes up a serialised state; false, and it begins afresh, when that is of another model. */
  restore(state: Uint8Array): boolean {
    const saved = decodeSeries(state);
    if (saved.model !== this.#modelName) return false;
    for (const [key, series] of saved.series.slice(-this.#options.config.maxSeries))
      this.#store.put(key, series);
    return true;
  }
}

/** The body of a model stage. `clock` stamps the results' receipt. */
export function modelStage(clock: Clock = systemClock) {
  return async (context: StageContext<ModelStageConfig>): Promise<void> => {
    const { model: config } = context.config;
    const model = await loadModel(config.model);
    const runtime = lazyRuntime(model);
    try {
      const templates = new TopicTemplates(context.config.templates);
      const scorer = new Scorer({ config, templates, sidecar: model.sidecar, runtime });
      await runDerivation(context, {
        source: SOURCE.model,
        clock,
        restore: (state) => {
          if (state && !scorer.restore(state)) {
            context.log('info', 'the model has changed: its series calibrate afresh', {
              model: model.sidecar.name,
            });
          }
          return scorer;
        },
      });
    } finally {
      await runtime.close();
    }
  };
}
