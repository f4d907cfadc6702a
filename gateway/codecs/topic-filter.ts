// Owns MQTT topic filters [MQTT-4.7]: how one is written, and whether it matches a topic. Knows nothing of
// subscriptions, nor of who may name which topics.
//
//   filter = level *("/" level)        level = "+" (any one level) | "#" (the rest; last level only) | text
import { z } from 'zod';

export const topicFilter = z
  .string()
  .min(1)
  .max(512)
  .regex(
    /^(?:(?:[^+#/\0]*|\+)\/)*(?:[^+#/\0]*|\+|#)$/,
    'must be an MQTT topic filter: + and # fill a whole level, # only the last',
  );

export type TopicMatcher = (topic: string) => boolean;

/** Topics repeat, so almost every answer comes from memory; when full it is forgotten as a whole. */
const MAX_REMEMBERED = 8_192;

/**
 * True where any of `filters` matches. A filter that begins with a wildcard does not match a topic that begins with
 * `$` [MQTT-4.7.2-1].
 */
export function topicMatcher(filters: readonly string[]): TopicMatcher {
  const parsed = filters.map((filter) => filter.split('/'));
  const remembered = new Map<string, boolean>();
  return (topic) => {
    const known = remembered.get(topic);
    if (known !== undefined) return known;
    const levels = topic.split('/');
    const answer = parsed.some((filter) => matches(filter, levels));
    if (remembered.size >= MAX_REMEMBERED) remembered.clear();
    remembered.set(topic, answer);
    return answer;
  };
}

function matches(filter: readonly string[], levels: readonly string[]): boolean {
  if (levels[0]!.startsWith('$') && (filter[0] === '+' || filter[0] === '#')) return false;
  for (const [index, level] of filter.entries()) {
    // Before the length check, because "a/#" also matches "a" [MQTT-4.7.1-2].
    if (level === '#') return true;
    if (index >= levels.length || (level !== '+' && level !== levels[index])) return false;
  }
  return filter.length === levels.length;
}
