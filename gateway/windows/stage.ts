// Owns the windows stage: feeds the tumbling windows from the log and turns what they complete into records.
// Refuses to compute windows itself (tumbling.ts) and to know how results come to stand in the log once (stage).
import { SOURCE } from '../../ledger/format/record.ts';
import type { TemplatesConfig } from '../codecs/config.ts';
import { numericFields } from '../codecs/fields.ts';
import { TopicTemplates } from '../codecs/template.ts';
import { type Clock, systemClock } from '../stage/clock.ts';
import type { DerivedResult } from '../stage/derived.ts';
import { type Derivation, runDerivation } from '../stage/deriving.ts';
import type { StageContext } from '../stage/types.ts';
import type { WindowsConfig } from './config.ts';
import { TICK_TOPIC, TumblingWindows } from './tumbling.ts';
import type { WindowResult } from './window.ts';

export interface WindowsStageConfig {
  readonly windows: WindowsConfig;
  /** `ingest.templates`: they name a record's fields. */
  readonly templates: TemplatesConfig;
}

function resultOf(result: WindowResult): DerivedResult {
  const { window, device, sizeMs, startMs, endMs, fields } = result;
  return {
    topic: `$tidemark/windows/${window}`,
    device,
    // The size is part of it: a window whose size is changed later is another window.
    key: `${sizeMs}/${startMs}`,
    eventMs: endMs,
    payload: { window, startMs, endMs, fields },
  };
}

/** The body of the windows stage. `clock` decides when to tick and stamps the results' receipt. */
export function windowsStage(clock: Clock = systemClock) {
  return async (context: StageContext<WindowsStageConfig>): Promise<void> => {
    const templates = new TopicTemplates(context.config.templates);
    const { windows: config } = context.config;
    const windows = new TumblingWindows(config, (record) => numericFields(record, templates));
    const idleMs = Math.min(...config.map((window) => window.idleMs));
    const derivation: Derivation = {
      feed: async (records) => records.flatMap((record) => windows.feed(record)).map(resultOf),
      serialise: () => windows.serialise(),
      figures: () => ({ ...windows.figures(), watermarkMs: windows.watermarkMs }),
      // The advance of time goes through the log like everything else, so that a replay sees it at the same place.
      idle: (nowMs, silentMs) => {
        if (silentMs < idleMs || !windows.wantsTick(nowMs)) return null;
        const empty = new Uint8Array(0);
        return {
          eventMs: nowMs,
          receivedMs: nowMs,
          topic: TICK_TOPIC,
          device: '',
          sequence: null,
          source: SOURCE.gateway,
          contentType: '',
          headers: [],
          payload: empty,
          salt: empty,
        };
      },
    };
    await runDerivation(context, {
      source: SOURCE.window,
      clock,
      restore: (state) => {
        const dropped = state ? windows.restore(state) : 0;
        if (dropped > 0)
          context.log('warn', 'open windows the configuration no longer has are dropped', {
            aggregates: dropped,
          });
        return derivation;
      },
    });
  };
}
