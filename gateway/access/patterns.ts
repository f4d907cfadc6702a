// Owns what a topic pattern allows: sending to a topic, hearing a filter. The name in %device% is taken literally, whatever
// is in it. Knows nothing of principals.
//
//   pattern = topic filter [MQTT-4.7], where a level may contain %device%

type Level =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: '+' }
  | { readonly kind: '#' };

/** A client repeats few topics; more are looked at anew each time. */
const REMEMBERED_MAX = 32;
const SHARED = /^\$(?:share\/[^/]*|queue)\//;

export class Patterns {
  readonly #patterns: readonly (readonly Level[])[];
  readonly #remembered = new Map<string, boolean>();

  constructor(patterns: readonly string[], device: string) {
    this.#patterns = patterns.map((pattern) => pattern.split('/').map((level) => levelOf(level, device)));
  }

  /** True where `topic`, a name without wildcards, is matched. */
  matches(topic: string): boolean {
    const known = this.#remembered.get(topic);
    if (known !== undefined) return known;
    const levels = topic.split('/');
    const answer = this.#patterns.some((pattern) => covers(pattern, levels, false));
    if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear();
    this.#remembered.set(topic, answer);
    return answer;
  }

  /** True where every topic that `filter` matches is matched by one and the same pattern. */
  covers(filter: string): boolean {
    const levels = filter.replace(SHARED, '').split('/');
    return this.#patterns.some((pattern) => covers(pattern, levels, true));
  }
}

function levelOf(level: string, device: string): Level {
  if (level === '+' || level === '#') return { kind: level };
  return { kind: 'text', text: level.replaceAll('%device%', () => device) };
}

/** `levels` are a filter's (its wildcards count as such) or a topic's. */
function covers(pattern: readonly Level[], levels: readonly string[], isFilter: boolean): boolean {
  // A wildcard at the beginning does not reach topics that begin with $ [MQTT-4.7.2-1].
  if (levels[0]!.startsWith('$') && pattern[0]!.kind !== 'text') return false;
  for (const [index, level] of pattern.entries()) {
    // Before the length check, because "a/#" also matches "a" [MQTT-4.7.1-2].
    if (level.kind === '#') return true;
    const wanted = levels[index];
    if (wanted === undefined) return false;
    if (isFilter && wanted === '#') return false;
    if (level.kind === '+') continue;
    if (level.text !== wanted || (isFilter && wanted === '+')) return false;
  }
  return pattern.length === levels.length;
}
