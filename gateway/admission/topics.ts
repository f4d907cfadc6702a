// Decides whether a topic or a device id may be used, once per name: the verdicts are kept. docs/protocols.md has
// the rules.
import type { TopicMatch, TopicTemplates } from '../codecs/template.ts';
import { topicCrcOf } from './duplicates.ts';

const CACHED_TOPICS_MAX = 16_384;
// U+FFFD stands where a decoder met bytes that are not UTF-8 [MQTT-1.5.3-1]; C0 and DEL would break every line-based
// reader of topics.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const UNUSABLE = /[\u0000-\u001f\u007f\ufffd]/;

/** What speaks against a name as topic or device id whatever its length, or null. */
function unusableText(text: string): string | null {
  if (UNUSABLE.test(text)) return 'has control characters or is not valid UTF-8';
  if (!text.isWellFormed()) return 'is not valid Unicode';
  return null;
}

export interface TopicVerdict {
  /** Why the topic is refused, or null. */
  readonly problem: string | null;
  readonly match: TopicMatch;
  /** Why the device the topic names is refused, or null. */
  readonly deviceProblem: string | null;
  readonly crc: number;
}

export interface TopicLimits {
  readonly maxTopicBytes: number;
  readonly maxDeviceBytes: number;
}

export class TopicRules {
  readonly #templates: TopicTemplates;
  readonly #limits: TopicLimits;
  readonly #verdicts = new Map<string, TopicVerdict>();

  constructor(templates: TopicTemplates, limits: TopicLimits) {
    this.#templates = templates;
    this.#limits = limits;
  }

  verdict(topic: string): TopicVerdict {
    const known = this.#verdicts.get(topic);
    if (known) return known;
    // A topic beyond the limit is not kept: nobody fills the cache with megabytes.
    const problem = this.#problem(topic);
    const match = this.#templates.match(problem === null ? topic : '');
    const verdict: TopicVerdict = {
      problem,
      match,
      deviceProblem: deviceProblem(match.device ?? '', this.#limits.maxDeviceBytes),
      crc: topicCrcOf(topic),
    };
    if (problem === null) {
      if (this.#verdicts.size >= CACHED_TOPICS_MAX) this.#verdicts.clear();
      this.#verdicts.set(topic, verdict);
    }
    return verdict;
  }

  #problem(topic: string): string | null {
    if (topic === '') return 'the topic is empty';
    const { maxTopicBytes } = this.#limits;
    if (topic.length > maxTopicBytes || Buffer.byteLength(topic) > maxTopicBytes) {
      return `the topic is longer than ${maxTopicBytes} bytes`;
    }
    if (topic.startsWith('$')) return 'topics that begin with $ belong to the gateway';
    if (/[+#]/.test(topic)) return 'the topic has a wildcard (+ or #)';
    const unusable = unusableText(topic);
    return unusable === null ? null : `the topic ${unusable}`;
  }
}

/** Why `device` cannot be a device id, or null. */
export function deviceProblem(device: string, maxBytes: number): string | null {
  if (device.length > maxBytes || (device.length * 3 > maxBytes && Buffer.byteLength(device) > maxBytes)) {
    return `the device id is longer than ${maxBytes} bytes`;
  }
  const unusable = unusableText(device);
  return unusable === null ? null : `the device id ${unusable}`;
}
