// Matches topics against the configured templates: which device, which metric, where time and counter stand.
// Refuses nothing: a topic no template fits has neither device nor metric.
import type { TemplatesConfig } from './config.ts';
import { type Pointer, parsePointer } from './pointer.ts';
import { parseSparkplugTopic, sparkplugDevice } from './sparkplug.ts';

export interface TopicMatch {
  readonly device: string | null;
  readonly metric: string | null;
  /** Where the device time stands in a JSON payload; null: nowhere. */
  readonly time: Pointer | null;
  /** Where the device counter stands in a JSON payload; null: nowhere. */
  readonly sequence: Pointer | null;
  /** Where the measured values stand in a JSON payload; null: anywhere. */
  readonly value: Pointer | null;
}

interface Level {
  readonly name: string | null;
  readonly literal: string;
}

interface Compiled {
  readonly levels: readonly Level[];
  readonly time: Pointer | null;
  readonly sequence: Pointer | null;
  readonly value: Pointer | null;
}

const CACHED_TOPICS_MAX = 16_384;

const pointerOf = (text: string | null) => (text === null ? null : parsePointer(text));

function compile(entry: TemplatesConfig[number]): Compiled {
  const levels = entry.topic.split('/').map((level) => {
    const named = /^\{(.+)\}$/.exec(level);
    return { name: named ? named[1]! : null, literal: level };
  });
  return {
    levels,
    time: pointerOf(entry.time),
    sequence: pointerOf(entry.sequence),
    value: pointerOf(entry.value),
  };
}

/** The names' levels when every level fits; a {name} takes one level that is not empty. */
function fitLevels(template: Compiled, levels: readonly string[]): Map<string, string> | null {
  if (levels.length !== template.levels.length) return null;
  const names = new Map<string, string>();
  for (const [at, level] of template.levels.entries()) {
    const text = levels[at]!;
    if (level.name === null ? text !== level.literal : text === '') return null;
    if (level.name !== null) names.set(level.name, text);
  }
  return names;
}

export class TopicTemplates {
  readonly #templates: readonly Compiled[];
  readonly #none: TopicMatch;
  readonly #cache = new Map<string, TopicMatch>();

  constructor(config: TemplatesConfig) {
    this.#templates = config.map(compile);
    this.#none = {
      device: null,
      metric: null,
      time: parsePointer('/ts'),
      sequence: parsePointer('/seq'),
      value: null,
    };
  }

  /** Same topic, same answer (and, mostly, the same object). Topics of the gateway's own (`$…`) fit no template. */
  match(topic: string): TopicMatch {
    const known = this.#cache.get(topic);
    if (known) return known;
    const found = this.#find(topic);
    // Starting over is cheap and bounded; telemetry topics number far fewer.
    if (this.#cache.size >= CACHED_TOPICS_MAX) this.#cache.clear();
    this.#cache.set(topic, found);
    return found;
  }

  #find(topic: string): TopicMatch {
    if (topic.startsWith('$')) return this.#none;
    const sparkplug = parseSparkplugTopic(topic);
    // Its payloads are no JSON: time and metrics stand inside (gateway/sparkplug).
    if (sparkplug) return { ...this.#none, device: sparkplugDevice(sparkplug), time: null, sequence: null };
    const levels = topic.split('/');
    for (const template of this.#templates) {
      const names = fitLevels(template, levels);
      if (names) {
        const { time, sequence, value } = template;
        const device = names.get('device') ?? null;
        return { device, metric: names.get('metric') ?? null, time, sequence, value };
      }
    }
    return this.#none;
  }
}
