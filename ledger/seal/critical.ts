// Which records are critical by the operator's rules: those are sealed at once, in blocks of their own that name the rules.
// Looks at one record at a time; keeps nothing.
import { z } from 'zod';
import { structuredPayload } from '../../gateway/codecs/fields.ts';
import { parsePointer, resolvePointer } from '../../gateway/codecs/pointer.ts';
import { topicFilter } from '../../gateway/codecs/topic-filter.ts';
import { topicMatcher } from '../../gateway/codecs/topic-matcher.ts';
import type { TelemetryRecord } from '../format/record.ts';

const pointer = z
  .string()
  .max(256)
  .refine(isPointer, 'must be a JSON pointer such as /temperature, or empty');

const valueRule = z
  .strictObject({
    pointer: pointer
      .default('')
      .describe('Where the number is in the payload, e.g. /temperature; empty: the payload is the number.'),
    above: z.number().optional().describe('Critical when greater.'),
    below: z.number().optional().describe('Critical when less.'),
  })
  .refine(({ above, below }) => above !== undefined || below !== undefined, 'needs above or below');

const headerRule = z.strictObject({
  name: z.string().min(1).max(255).describe('Name of a header of the record.'),
  value: z.string().max(1_024).optional().describe('Its value; left out: any.'),
});

export const criticalRules = z
  .array(
    z.strictObject({
      name: z
        .string()
        .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'lower-case letters, digits and hyphens')
        .describe('Names the rule in the blocks it causes.'),
      topics: z
        .array(topicFilter)
        .min(1)
        .max(32)
        .default(['#'])
        .describe('MQTT topic filters; one has to match. # leaves out topics that begin with $.'),
      value: valueRule.optional().describe('And a number of the payload is out of bounds.'),
      header: headerRule.optional().describe('And this header is there: a classification by the device.'),
    }),
  )
  .max(32)
  .refine(
    (rules) => new Set(rules.map(({ name }) => name)).size === rules.length,
    'each rule needs its own name',
  );

export type CriticalRules = z.infer<typeof criticalRules>;

function isPointer(text: string): boolean {
  try {
    parsePointer(text);
    return true;
  } catch {
    return false;
  }
}

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
