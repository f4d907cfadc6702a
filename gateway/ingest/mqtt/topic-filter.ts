// How a subscription's filter is written [MQTT-4.7], shared subscriptions included (MQTT 5 §4.8.2), and whether it
// matches a topic. Holds no subscriptions.
//
//   filter = ["$share/" group "/"] level *("/" level)        group: at least one character, none of + # /

export interface ParsedFilter {
  /** Null: not shared. */
  readonly group: string | null;
  readonly levels: readonly string[];
}

/** Why it is not a filter, or null. Characters have been judged before. */
export function filterProblem(filter: string): string | null {
  if (filter === '') return 'the filter is empty';
  let topicFilter = filter;
  if (filter.startsWith('$share/')) {
    const slash = filter.indexOf('/', 7);
    const group = slash < 0 ? '' : filter.slice(7, slash);
    topicFilter = slash < 0 ? '' : filter.slice(slash + 1);
    // [MQTT5-4.8.2-1] [MQTT5-4.8.2-2]
    if (group === '' || /[+#]/.test(group) || topicFilter === '')
      return 'a shared subscription is $share/<group>/<filter>';
  }
  const levels = topicFilter.split('/');
  for (const [at, level] of levels.entries()) {
    if (level.includes('#') && (level !== '#' || at !== levels.length - 1))
      return '# stands alone at the end';
    if (level.includes('+') && level !== '+') return '+ fills a whole level';
  }
  return null;
}

export function parseFilter(filter: string): ParsedFilter {
  if (!filter.startsWith('$share/')) return { group: null, levels: filter.split('/') };
  const slash = filter.indexOf('/', 7);
  return { group: filter.slice(7, slash), levels: filter.slice(slash + 1).split('/') };
}

/** The filter as topics see it: without its share group. */
export function plainFilter(filter: string): string {
  return filter.startsWith('$share/') ? filter.slice(filter.indexOf('/', 7) + 1) : filter;
}

export function matches(filter: readonly string[], topic: readonly string[]): boolean {
  // [MQTT-4.7.2-1]
  if (topic[0]!.startsWith('$') && (filter[0] === '+' || filter[0] === '#')) return false;
  for (let at = 0; at < filter.length; at += 1) {
    const level = filter[at]!;
    // Before the length check, because "a/#" also matches "a".
    if (level === '#') return true;
    if (at >= topic.length || (level !== '+' && level !== topic[at])) return false;
  }
  return filter.length === topic.length;
}
