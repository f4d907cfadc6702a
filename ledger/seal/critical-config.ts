// The `ledger.critical` section: rules that say which records are critical. critical.ts applies them.
import { z } from 'zod';
import { parsePointer } from '../../gateway/codecs/pointer.ts';
import { topicFilter } from '../../gateway/codecs/topic-filter.ts';

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
