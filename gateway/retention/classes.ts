// Owns which rule of the configuration a record falls under, and when its class of records is past its age. Touches
// no file and removes nothing.
import { topicMatcher } from '../codecs/topic-matcher.ts';
import type { RetentionConfig } from './config.ts';

export interface RetentionClass {
  /** null: never. */
  readonly maxAgeMs: number | null;
  /** For people, and the name under which a removal is carried out: changes with the rule. */
  readonly text: string;
}

/** Every topic falls into exactly one class: that of the first rule that matches, or the last class. */
export class RetentionClasses {
  readonly classes: readonly RetentionClass[];
  readonly #matchers: readonly ((topic: string) => boolean)[];

  constructor(config: RetentionConfig) {
    const rules = config.rules.map(({ topics, maxAgeMs }) => ({
      maxAgeMs,
      text: textOf(topics.join(' '), maxAgeMs),
    }));
    const rest = config.rules.length > 0 ? 'all other topics' : 'all topics';
    this.classes = [...rules, { maxAgeMs: config.maxAgeMs, text: textOf(rest, config.maxAgeMs) }];
    this.#matchers = config.rules.map(({ topics }) => topicMatcher(topics));
  }

  /** Index into `classes`. */
  of(topic: string): number {
    const found = this.#matchers.findIndex((matches) => matches(topic));
    return found < 0 ? this.classes.length - 1 : found;
  }

  /** Shortest age of any class; null when no class has one. */
  get shortestMs(): number | null {
    const ages = this.classes.flatMap(({ maxAgeMs }) => (maxAgeMs === null ? [] : [maxAgeMs]));
    return ages.length === 0 ? null : Math.min(...ages);
  }
}

function textOf(topics: string, maxAgeMs: number | null): string {
  return `${topics} older than ${maxAgeMs === null ? 'ever' : `${maxAgeMs} ms`}`;
}
