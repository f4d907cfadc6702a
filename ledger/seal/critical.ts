// Which records are critical by the operator's rules: those are sealed at once, in blocks of their own that name the rules.
// Looks at one record at a time; keeps nothing.
import { structuredPayload } from '../../gateway/codecs/fields.ts';
import { parsePointer, resolvePointer } from '../../gateway/codecs/pointer.ts';
import { topicMatcher } from '../../gateway/codecs/topic-matcher.ts';
import type { TelemetryRecord } from '../format/record.ts';
import type { CriticalRules } from './critical-config.ts';

/** The name of the first rule that a record meets, or null. */
export type IsCritical = (record: TelemetryRecord) => string | null;

/** Null where there are no rules: then nothing needs to be looked at. */
export function criticalBy(rules: CriticalRules): IsCritical | null {
  if (rules.length === 0) return null;
  const tests = rules.map(({ name, topics, value, header }) => {
    const onTopic = topicMatcher(topics);
    const at = parsePointer(value?.pointer ?? '');
    const bytes = header?.value === undefined ? null : Buffer.from(header.value);
    const outOfBounds = (record: TelemetryRecord): boolean => {
      if (!value) return true;
      const found = resolvePointer(structuredPayload(record.payload, record.contentType), at);
      if (typeof found !== 'number') return false;
      return (
        found > (value.above ?? Number.POSITIVE_INFINITY) || found < (value.below ?? Number.NEGATIVE_INFINITY)
      );
    };
    const labelled = ({ headers }: TelemetryRecord): boolean =>
      !header || headers.some(([key, content]) => key === header.name && (bytes?.equals(content) ?? true));
    return {
      name,
      meets: (record: TelemetryRecord) => onTopic(record.topic) && labelled(record) && outOfBounds(record),
    };
  });
  return (record) => tests.find(({ meets }) => meets(record))?.name ?? null;
}
