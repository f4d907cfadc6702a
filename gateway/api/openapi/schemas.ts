// The shapes that answers of the HTTP port have, as JSON Schemas of the OpenAPI document. Describes; checks nothing.

export type Schema = Readonly<Record<string, unknown>>;

const integer: Schema = { type: 'integer' };
const text: Schema = { type: 'string' };
const nullable = (type: string): Schema => ({ type: [type, 'null'] });
const listOf = (items: Schema): Schema => ({ type: 'array', items });
export const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });

const objectOf = (properties: Record<string, Schema>, optional: readonly string[] = []): Schema => ({
  type: 'object',
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
});

const results = {
  accepted: integer,
  duplicates: integer,
  rejected: integer,
  firstOffset: nullable('integer'),
  lastOffset: nullable('integer'),
  errors: listOf(objectOf({ line: { type: 'integer', minimum: 1 }, reason: text, detail: text })),
};

export const SCHEMAS: Readonly<Record<string, Schema>> = {
  Problem: {
    description: 'RFC 9457. `code` is stable and for programs, `detail` for people.',
    ...objectOf({ type: text, title: text, status: integer, detail: text, code: text }),
  },
  InfluxProblem: {
    description:
      'A problem, with the members that InfluxDB’s clients look for, and the results of the lines.',
    ...objectOf(
      {
        type: text,
        title: text,
        status: integer,
        detail: text,
        code: text,
        message: text,
        error: text,
        ...results,
      },
      Object.keys(results),
    ),
  },
  Stored: {
    ...objectOf({ offset: nullable('integer'), duplicate: { const: true } }, ['duplicate']),
    additionalProperties: false,
  },
  BatchResult: { ...objectOf(results), additionalProperties: false },
  InfluxHealth: objectOf({
    name: text,
    message: text,
    status: { enum: ['pass', 'fail'] },
    checks: { type: 'array' },
  }),
  InfluxQueryResult: objectOf({ results: { type: 'array' } }),
  Record: {
    description: 'As in proof files. Byte strings are base64; `source` is the wire value.',
    ...objectOf({
      offset: integer,
      eventMs: integer,
      receivedMs: integer,
      topic: text,
      device: text,
      sequence: nullable('integer'),
      source: { type: 'integer', minimum: 1, maximum: 6 },
      contentType: text,
      headers: listOf({ type: 'array', prefixItems: [text, text], minItems: 2, maxItems: 2 }),
      payload: text,
      salt: text,
    }),
    additionalProperties: false,
  },
  OneRecord: objectOf({ record: ref('Record') }),
  Records: objectOf({ records: listOf(ref('Record')), next: integer }),
  Proof: { type: 'object', description: 'A proof file: see docs/formats.md.' },
  DeviceProof: objectOf({ height: integer, device: text, proof: { type: 'array' } }),
  Leaves: objectOf({ runs: listOf(objectOf({ first: integer, hashes: text })) }),
  Timestamps: objectOf({
    timestamps: listOf(objectOf({ size: integer, checkpoint: nullable('string'), token: text })),
    next: nullable('integer'),
  }),
  Provenance: objectOf({
    record: { type: 'object' },
    madeFrom: nullable('object'),
    intact: nullable('boolean'),
    block: nullable('object'),
    checkpoint: nullable('object'),
    usedBy: listOf({ type: 'object' }),
    searchedTo: integer,
    usedByComplete: { type: 'boolean' },
    sinks: listOf({ type: 'object' }),
  }),
  Flow: objectOf({
    fromMs: { type: 'integer' },
    toMs: { type: 'integer' },
    blocks: nullable('object'),
    kinds: { type: 'object', additionalProperties: integer },
    criticalBlocks: integer,
    declared: listOf({ type: 'object' }),
    refusals: { type: 'object' },
    offsets: objectOf({ first: integer, end: integer }),
    records: { type: 'object' },
    nextHeight: nullable('integer'),
    sinks: listOf({ type: 'object' }),
  }),
  Devices: objectOf({
    devices: listOf(
      objectOf({
        device: text,
        topics: listOf(text),
        records: integer,
        lastMs: integer,
        lastOffset: integer,
        source: { type: ['integer', 'string'] },
      }),
    ),
    total: integer,
  }),
  Anomalies: objectOf({ anomalies: listOf(ref('Record')) }),
  Windows: objectOf({ windows: listOf(ref('Record')) }),
  Blocks: objectOf({
    blocks: listOf(
      objectOf({
        height: integer,
        kind: text,
        first: integer,
        count: integer,
        root: text,
        sealedMs: integer,
        hash: text,
        critical: { type: ['array', 'null'], items: text },
      }),
    ),
  }),
  Critical: objectOf({ critical: listOf({ type: 'object' }), next: nullable('integer') }),
  Status: objectOf({
    version: text,
    startedMs: integer,
    origin: text,
    publicKey: text,
    nowMs: integer,
    ready: { type: 'boolean' },
    log: { type: 'object' },
    ingest: { type: 'object' },
    rejected: { type: 'object', additionalProperties: integer },
    pressure: { type: 'object' },
    devices: integer,
    stages: { type: 'object' },
    derived: { type: 'object' },
    ledger: { type: 'object' },
    tail: { type: 'object' },
  }),
  Issued: objectOf(
    {
      name: text,
      kind: { enum: ['password', 'token', 'none'] },
      secret: text,
      id: text,
      expiresMs: nullable('integer'),
    },
    ['secret', 'id'],
  ),
  Principals: objectOf({ principals: listOf({ type: 'object' }) }),
  Applied: objectOf({ applied: listOf(text), restart: listOf(text) }),
};
