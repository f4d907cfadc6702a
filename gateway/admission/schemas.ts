// Holds payloads against the JSON Schema their topic has. Schemas are compiled when the configuration is read, so a bad
// one is a complaint with its line, not a surprise at the first record. Refuses to fetch a schema from anywhere.
import { Ajv, type Options, type ValidateFunction } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { z } from 'zod';
import { isCbor } from '../codecs/content-type.ts';
import { structuredPayload } from '../codecs/fields.ts';
import { topicFilter } from '../codecs/topic-filter.ts';
import { topicMatcher } from '../codecs/topic-matcher.ts';
import type { Submission } from './types.ts';

const OPTIONS: Options = { strictTypes: false, strictTuples: false, strictRequired: false, logger: false };
const DETAIL_CHARACTERS_MAX = 256;
const DRAFT_07 = /^https?:\/\/json-schema\.org\/draft-0[67]\/schema#?$/;

type JsonSchema = Record<string, unknown>;

const ajvFor = (schema: JsonSchema): Ajv => {
  const old = typeof schema.$schema === 'string' && DRAFT_07.test(schema.$schema);
  const ajv = old ? new Ajv(OPTIONS) : new Ajv2020(OPTIONS);
  formats.default(ajv);
  return ajv;
};

/** Throws what ajv throws. */
function compile(schema: JsonSchema): ValidateFunction {
  return ajvFor(schema).compile(schema);
}

interface SchemaProblem {
  readonly path: string[];
  readonly message: string;
}

/** Where its text is no JSON Schema; what it refers to is not looked at. Null when it is sound. */
export function schemaTextProblem(schema: JsonSchema): SchemaProblem | null {
  const ajv = ajvFor(schema);
  try {
    if (ajv.validateSchema(schema) === true) return null;
  } catch (error) {
    return { path: [], message: `is not a usable JSON Schema: ${(error as Error).message}` };
  }
  const [error] = ajv.errors ?? [];
  const path = (error?.instancePath ?? '').split('/').slice(1);
  const allowed = error?.params.allowedValues as unknown[] | undefined;
  const among = allowed ? `: ${allowed.join(', ')}` : '';
  return { path, message: `is not a JSON Schema: ${error?.message ?? 'invalid'}${among}` };
}

/** Where a schema is wrong, as a path into it, and why; null when it is sound. */
export function schemaProblem(schema: JsonSchema): SchemaProblem | null {
  const problem = schemaTextProblem(schema);
  if (problem) return problem;
  try {
    compile(schema);
    return null;
  } catch (error) {
    return { path: [], message: `is not a usable JSON Schema: ${(error as Error).message}` };
  }
}

const ruleSchema = z.strictObject({
  topics: z.array(topicFilter).min(1).max(256).describe('MQTT topic filters of the records it is for.'),
  mode: z
    .enum(['reject', 'quarantine', 'tag'])
    .default('reject')
    .describe(
      'For payloads that do not fit. reject: refused as `invalid`. quarantine: kept, and acknowledged, under $tidemark/quarantine/<topic>, with the reason in the header tidemark-invalid. tag: kept where it belongs, with that header.',
    ),
  schema: z
    .record(z.string(), z.unknown(), 'must be a JSON Schema, or `file` the name of one')
    .superRefine((schema, context) => {
      const problem = schemaProblem(schema);
      if (problem) context.addIssue({ code: 'custom', ...problem });
    })
    .describe('The JSON Schema itself: draft 2020-12, or 07 where $schema says so. In its place: file.'),
  file: z
    .string()
    .min(1)
    .optional()
    .describe(
      'The file, JSON or YAML, in which the schema is; relative to this one. It may refer to others in its folder ($ref: other.json#/$defs/x). Read at the start and on every reload.',
    ),
});

/** Tried in order: the first whose filters match the topic decides. */
export const schemaRulesSchema = z
  .array(ruleSchema)
  .max(256)
  .default([])
  .describe('JSON Schemas for payloads, tried in order: the first whose topics fit decides.');

export type SchemaRules = z.infer<typeof schemaRulesSchema>;

export interface Misfit {
  readonly mode: SchemaRules[number]['mode'];
  /** What does not fit, e.g. `/value must be number`. */
  readonly detail: string;
}

interface Rule {
  readonly mode: Misfit['mode'];
  readonly matches: (topic: string) => boolean;
  readonly validate: ValidateFunction;
}

/** Undefined: neither JSON nor, where the content type says so, CBOR. */
function parsed({ payload, contentType }: Submission): unknown {
  if (isCbor(contentType)) return structuredPayload(payload, contentType);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch {
    return undefined;
  }
}

export class PayloadSchemas {
  readonly #rules: readonly Rule[];

  constructor(rules: SchemaRules) {
    this.#rules = rules.map(({ mode, topics, schema }) => {
      return { mode, matches: topicMatcher(topics), validate: compile(schema) };
    });
  }

  /** Whether one is for this topic. */
  concern(topic: string): boolean {
    return this.#rules.length > 0 && this.#rules.some(({ matches }) => matches(topic));
  }

  /** Null: it fits, or no schema is for its topic. */
  misfit(submission: Submission): Misfit | null {
    if (this.#rules.length === 0) return null;
    const rule = this.#rules.find(({ matches }) => matches(submission.topic));
    if (rule === undefined) return null;
    const json = submission.json === undefined ? parsed(submission) : submission.json;
    const detail =
      json === undefined ? 'the payload is neither JSON nor CBOR' : problemOf(rule.validate, json);
    return detail === null ? null : { mode: rule.mode, detail: detail.slice(0, DETAIL_CHARACTERS_MAX) };
  }
}

function problemOf(validate: ValidateFunction, json: unknown): string | null {
  try {
    if (validate(json)) return null;
    const [error] = validate.errors ?? [];
    return `${error?.instancePath || 'the payload'} ${error?.message ?? 'does not fit'}`;
  } catch (error) {
    // A schema that refers to itself, and a payload nested deeper than the stack.
    if (error instanceof RangeError) return 'the payload is nested too deeply';
    throw error;
  }
}
