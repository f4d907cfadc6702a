// Owns whether MQTT topic filters [MQTT-4.7] match a topic. Knows nothing of configuration, so that worker threads need not
// load what reads it.

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
