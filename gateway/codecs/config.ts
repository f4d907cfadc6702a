// The schema of topic templates, shared by every room that reads devices and fields out of records. Refuses
// pointers and topics that could never match anything.
import { z } from 'zod';

const pointer = z
  .string()
  .max(256)
  .regex(/^(\/([^~/]|~0|~1)+)+$/, 'a JSON pointer such as /ts or /meta/time')
  .nullable();

const topic = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[^+#\0]+$/, 'levels separated by /, without + and #')
  .refine((text) => !text.startsWith('$'), 'topics that begin with $ belong to the gateway')
  .refine(
    (text) =>
      text.split('/').every((level) => /^\{[a-zA-Z][a-zA-Z0-9_]*\}$/.test(level) || !/[{}]/.test(level)),
    'a {name} takes a whole level',
  )
  .refine((text) => {
    const names = text.match(/\{[^}]*\}/g) ?? [];
    return new Set(names).size === names.length;
  }, 'a {name} may stand only once');

const template = z.strictObject({
  topic: topic.describe(
    'Levels are literal or {name}; {device} and {metric} name the device and the metric.',
  ),
  time: pointer.default('/ts').describe('Where the device time stands in a JSON payload; null: nowhere.'),
  sequence: pointer
    .default('/seq')
    .describe('Where the device counter stands in a JSON payload; null: nowhere.'),
  value: pointer
    .default(null)
    .describe(
      'Where the measured values stand in a JSON payload: a number, or what holds them; null: anywhere.',
    ),
});

/** Each entry is a topic template, or an object when its pointers differ from `/ts` and `/seq`. */
export const templatesSchema = z
  .array(z.union([topic.transform((text) => template.parse({ topic: text })), template]))
  .max(256)
  .default(() =>
    ['plant/{device}/{metric}', '{site}/{device}/{metric}'].map((text) => template.parse({ topic: text })),
  )
  .describe('Topic templates, tried in order: the first that fits names the device and the metric.');

export type TemplatesConfig = z.infer<typeof templatesSchema>;
