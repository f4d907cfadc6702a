// JSON Schemas in files of their own: read with what they refer to, and complained of by file and line.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ConfigError, loadConfig } from '../../cli/config/load.ts';
import { PayloadSchemas } from '../../gateway/admission/schemas.ts';
import { SOURCE } from '../../ledger/format/record.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-schemas-'));
  mkdirSync(join(folder, 'schemas', 'parts'), { recursive: true });
  put('tidemark.yaml', 'ingest:\n  schemas:\n    - { topics: ["plant/#"], file: schemas/pump.json }\n');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const put = (path: string, content: string | object) =>
  writeFileSync(join(folder, path), typeof content === 'string' ? content : JSON.stringify(content, null, 2));
const load = () => loadConfig(join(folder, 'tidemark.yaml'), {}).config;
const misfit = (value: unknown) =>
  new PayloadSchemas(load().ingest.schemas).misfit({
    source: SOURCE.http,
    topic: 'plant/p/x',
    device: null,
    fallbackDevice: '',
    sequence: null,
    eventMs: null,
    contentType: '',
    payload: Buffer.from(JSON.stringify(value)),
  })?.detail;

function problem(): string {
  try {
    load();
  } catch (error) {
    if (error instanceof ConfigError) return error.message.replaceAll(`${folder}/`, '');
    throw error;
  }
  return 'none';
}

test.each(['http://json-schema.org/draft-07/schema#', 'https://json-schema.org/draft/2020-12/schema'])(
  'a schema refers to others in its folder, those to further ones, and back (%s)',
  ($schema) => {
    put('schemas/pump.json', {
      $schema,
      properties: { heat: { $ref: 'parts/units.yaml#/$defs/celsius' }, next: { $ref: '#' } },
    });
    put(
      'schemas/parts/units.yaml',
      `$defs:\n  celsius: { $ref: "../number.json" }\n  pump: { $ref: ../pump.json }\n`,
    );
    put('schemas/number.json', { type: 'number', maximum: 200 });
    expect(misfit({ heat: 20, next: { heat: 30 } })).toBeUndefined();
    expect(misfit({ heat: 201 })).toBe('/heat must be <= 200');
    expect(misfit({ next: { heat: 'x' } })).toBe('/next/heat must be number');
    // As `tidemark config apply` reads it.
    put('schemas/number.json', { type: 'number', maximum: 300 });
    expect(misfit({ heat: 201 })).toBeUndefined();
  },
);

test.each([
  ['{\n  "type": "object",\n  "type": \n', 'schemas/pump.json:'],
  [
    '{\n  "properties": {\n    "v": { "type": "nmuber" }\n  }\n}',
    'schemas/pump.json:3:12: properties.v.type: is not a JSON Schema',
  ],
  [
    '{\n  "items":\n  { "$ref": "gone.json" } }',
    'schemas/pump.json:3:5: items.$ref: refers to schemas/gone.json, which is not there',
  ],
  ['{ "$ref": "../../secret.json" }', 'which is not in schemas'],
  [
    '{ "$ref": "https://example.com/x.json" }',
    "schemas/pump.json:1:1: is not a usable JSON Schema: can't resolve",
  ],
  [
    '{ "$ref": "parts/wrong.json" }',
    'schemas/parts/wrong.json:2:2: minimum: is not a JSON Schema: must be number',
  ],
  ['[1]', 'schemas/pump.json:1:1: must be a JSON Schema: an object'],
  ['{ "$ref": "%zz.json" }', 'schemas/pump.json:1:3: $ref: refers to %zz.json, which is not percent-encoded'],
  ['not: &a\n  not: *a\n', 'schemas/pump.json:1:1: the schema cannot be read'],
  [
    `a: &a [x, x]\nb: &b [${'*a, '.repeat(20)}]\nc: &c [${'*b, '.repeat(20)}]\nd: [${'*c, '.repeat(20)}]\n`,
    'schemas/pump.json:1:1: the schema cannot be read',
  ],
  ['{"not":'.repeat(6_000) + '}'.repeat(6_000), 'schemas/pump.json:1:'],
])('%s: refused with file and line', (text, message) => {
  put('schemas/parts/wrong.json', '{\n "minimum": "x" }');
  put('schemas/pump.json', text);
  expect(problem().replace(folder, '')).toContain(message);
});

test('what is no file is not read: a device may have no end', () => {
  put('schemas/pump.json', { $ref: 'parts' });
  expect(problem()).toContain('schemas/parts:1:1: the schema cannot be read: is not a file');
  put('tidemark.yaml', 'ingest:\n  schemas:\n    - { topics: ["plant/#"], file: /dev/zero }\n');
  expect(problem()).toContain('/dev/zero:1:1: the schema cannot be read: is not a file');
});

test('no file, no schema, or both', () => {
  expect(problem()).toContain('schemas/pump.json:1:1: the schema cannot be read');
  put('tidemark.yaml', 'ingest:\n  schemas:\n    - { topics: ["plant/#"] }\n');
  expect(problem()).toContain('tidemark.yaml:3:7: ingest.schemas.0.schema: must be a JSON Schema, or `file`');
  put('tidemark.yaml', 'ingest:\n  schemas:\n    - { topics: ["a"], schema: {}, file: x.json }\n');
  expect(problem()).toContain('not both');
});
