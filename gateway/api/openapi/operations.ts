// What each route of the HTTP port is for, takes and answers, by method and path as the router has them. Whether a route
// is there decides the server, not this table.
import { ref, type Schema } from './schemas.ts';

export interface Operation {
  readonly summary: string;
  readonly tags: readonly string[];
  readonly description?: string;
  readonly parameters?: readonly object[];
  readonly requestBody?: object;
  readonly responses: Readonly<Record<string, object>>;
  readonly security?: readonly object[];
}

const JSON_TYPE = 'application/json';
const text: Schema = { type: 'string' };
const integer: Schema = { type: 'integer', minimum: 0 };

const answer = (description: string, schema: Schema, type = JSON_TYPE) => ({
  description,
  content: { [type]: { schema } },
});
const problem = (description: string) => answer(description, ref('Problem'), 'application/problem+json');
const influxProblem = (description: string) => answer(description, ref('InfluxProblem'));
const query = (name: string, schema: Schema, description: string, required = false) => ({
  name,
  in: 'query',
  required,
  description,
  schema,
});
const header = (name: string, schema: Schema, description: string) => ({
  name,
  in: 'header',
  required: false,
  description,
  schema,
});
const inPath = (name: string, schema: Schema, description: string) => ({
  name,
  in: 'path',
  required: true,
  description,
  schema,
});
const limit = query('limit', { type: 'integer', minimum: 1 }, 'At most this many.');
const body = (description: string, types: readonly string[], schema: Schema = {}) => ({
  required: true,
  description,
  content: Object.fromEntries(types.map((type) => [type, { schema }])),
});

const callers = {
  '401': problem('No credentials, or wrong ones; with WWW-Authenticate.'),
  '403': problem('These credentials, this Host or this Origin may not.'),
} as const;
const refusals = {
  '400': problem('`malformed`, `bad-topic` or `invalid`: is refused again as it is.'),
  ...callers,
  '405': problem('Another method; with Allow.'),
  '413': problem('`too-large`.'),
  '415': problem('`unsupported-type`: the Content-Encoding or Content-Type.'),
  '429': problem('`overloaded` or `rate-limited`; with Retry-After.'),
  '503': problem('`disk-full` or `unavailable`; with Retry-After.'),
} as const;
const influxRefusals = Object.fromEntries(
  Object.entries(refusals).map(([status, { description }]) => [status, influxProblem(description)]),
);
const reads = {
  '400': problem('A bad parameter.'),
  ...callers,
  '503': problem('Too many reads at once, or shutting down; with Retry-After.'),
} as const;
const notHeld = { '404': problem('`not-held`, or `lost`.') } as const;

const ingest = (operation: Omit<Operation, 'tags'>): Operation => ({ tags: ['ingest'], ...operation });
const read = (summary: string, ok: object, more: Partial<Operation> = {}): Operation => ({
  summary,
  tags: ['reading'],
  ...more,
  responses: { '200': ok, ...reads, ...more.responses },
});
const administer = (summary: string, ok: object, takesBody = true): Operation => ({
  summary,
  tags: ['administration'],
  ...(takesBody ? { requestBody: body('See docs/operations.md.', [JSON_TYPE], { type: 'object' }) } : {}),
  responses: {
    '200': ok,
    '400': problem('A bad request, or a configuration that cannot be used.'),
    ...callers,
    '404': problem('There is no such name.'),
    '409': problem('Taken, revoked, or too many.'),
    '503': problem('The act could not be recorded.'),
  },
});

const inQuery = [
  query(
    'precision',
    { enum: ['ns', 'n', 'us', 'u', 'µ', 'ms', 's', 'm', 'h'] },
    'Of the timestamps; default ns.',
  ),
] as const;
const lines = (summary: string, parameters: readonly object[]): Operation =>
  ingest({
    summary,
    parameters: [...parameters, ...inQuery],
    requestBody: body('Line protocol; gzip or zstd by Content-Encoding.', ['text/plain']),
    responses: { '204': { description: 'Every line is on disk.' }, ...influxRefusals },
  });

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  'POST /api/v1/ingest/*': ingest({
    summary: 'Store one record, or a batch',
    description: 'Answered once every record is on disk or refused. The path after /ingest/ is the topic.',
    parameters: [
      inPath('topic', text, 'May hold slashes.'),
      query('batch', { const: 'array' }, 'The JSON body is an array of records.'),
      header('Tidemark-Device', text, 'Whose record it is.'),
      header('Tidemark-Sequence', integer, 'The device’s counter.'),
      header('Tidemark-Event-Time', { type: 'integer' }, 'Unix milliseconds.'),
      header('Idempotency-Key', { type: 'string', maxLength: 128 }, 'The same request is stored once.'),
    ],
    requestBody: body('The payload, stored byte for byte; gzip or zstd by Content-Encoding.', [
      JSON_TYPE,
      'application/cbor',
      'application/x-ndjson',
      'application/cbor-seq',
      '*/*',
    ]),
    responses: {
      '202': answer('On disk.', { oneOf: [ref('Stored'), ref('BatchResult')] }),
      ...refusals,
    },
  }),
  'POST /api/v1/:token/telemetry': ingest({
    summary: 'Store what a device sends that names itself by its token (ThingsBoard)',
    parameters: [inPath('token', text, 'The device’s token.')],
    requestBody: body('An object, or an array of them.', [JSON_TYPE], { type: ['object', 'array'] }),
    responses: { '200': { description: 'On disk.' }, ...refusals },
  }),
  'POST /api/v2/write': lines('Write line protocol (InfluxDB 2)', [
    query('bucket', text, 'First level of the topics.', true),
    query('org', text, 'Ignored.'),
  ]),
  'POST /write': lines('Write line protocol (InfluxDB 1)', [
    query('db', text, 'First level of the topics.', true),
    query('rp', text, 'Ignored.'),
    query('u', text, 'User.'),
    query('p', text, 'Password.'),
  ]),
  'GET /ping': ingest({
    summary: 'Whether an InfluxDB client finds somebody here',
    responses: {
      '204': { description: 'Yes.' },
      '401': influxRefusals['401']!,
      '403': influxRefusals['403']!,
    },
  }),
  'HEAD /ping': ingest({ summary: 'The same', responses: { '204': { description: 'Yes.' } } }),
  'GET /health': ingest({
    summary: 'Whether records are taken, as InfluxDB 2 says it',
    responses: {
      '200': answer('Yes.', ref('InfluxHealth')),
      '401': influxRefusals['401']!,
      '403': influxRefusals['403']!,
      '503': answer('No.', ref('InfluxHealth')),
    },
  }),
  'GET /query': ingest({
    summary: 'CREATE DATABASE is answered, nothing else',
    parameters: [query('q', text, 'The statement.')],
    responses: { '200': answer('Nothing to be done.', ref('InfluxQueryResult')), ...influxRefusals },
  }),
  'POST /query': ingest({
    summary: 'CREATE DATABASE is answered, nothing else',
    requestBody: body('q=…', ['application/x-www-form-urlencoded']),
    responses: { '200': answer('Nothing to be done.', ref('InfluxQueryResult')), ...influxRefusals },
  }),
  'GET /api/v1/status': read('Figures of the whole gateway', answer('See docs/protocols.md.', ref('Status'))),
  'GET /api/v1/records/:offset': read('One record', answer('The record.', ref('OneRecord')), {
    parameters: [inPath('offset', integer, 'Its offset.')],
    responses: notHeld,
  }),
  'GET /api/v1/records': read(
    'Records in the order of their offsets',
    answer('Some of them.', ref('Records')),
    {
      parameters: [
        query('from', integer, 'First offset; default the oldest held.'),
        limit,
        query('topic', text, 'Exactly this topic.'),
        query('device', text, 'Exactly this device.'),
        query('from_ms', { type: 'integer' }, 'Event time from here on.'),
        query('to_ms', { type: 'integer' }, 'Event time before.'),
      ],
    },
  ),
  'GET /api/v1/records/:offset/proof': read(
    'Proof of one record or of consecutive ones',
    answer('A proof file.', ref('Proof')),
    {
      parameters: [
        inPath('offset', integer, 'The first.'),
        query('last', integer, 'The last, when there are several.'),
      ],
      responses: {
        ...notHeld,
        '409': problem('`not-sealed-yet`; with Retry-After.'),
        '413': problem('Too large for one file.'),
      },
    },
  ),
  'GET /api/v1/blocks/:height/devices/:device': read(
    'What a block says of a device, with its proof',
    answer('The summary.', ref('DeviceProof')),
    {
      parameters: [inPath('height', integer, 'Of the block.'), inPath('device', text, 'Its name.')],
      responses: { '404': problem('`no-summary`.') },
    },
  ),
  'GET /api/v1/leaves': read(
    'Hashes that were kept of removed records',
    answer('Runs of SHA-256 leaf hashes of consecutive records, base64.', ref('Leaves')),
    {
      parameters: [
        query('from', integer, 'The first offset, e.g. that of a block.', true),
        query('end', integer, 'One past the last, at most 65,536 further.', true),
      ],
    },
  ),
  'GET /api/v1/records/:offset/provenance': read(
    'Where a record came from and where it went',
    answer('Device, block, checkpoint, uses and sinks.', ref('Provenance')),
    { parameters: [inPath('offset', integer, 'Of the record.')], responses: notHeld },
  ),
  'GET /api/v1/provenance': read(
    'All that was sealed between two times, re-hashed',
    answer('Blocks, records, declared losses and sinks.', ref('Flow')),
    {
      parameters: [
        query('from_ms', { type: 'integer' }, 'Sealed from here on.'),
        query('to_ms', { type: 'integer' }, 'Sealed before.'),
        query('height', integer, 'Goes on here: nextHeight of the answer before.'),
      ],
    },
  ),
  'GET /api/v1/timestamps': read(
    'External timestamps (RFC 3161), newest first',
    answer('Tokens, each with the signed checkpoint it stamps.', ref('Timestamps')),
    { parameters: [limit, query('before', integer, 'Of fewer blocks than this.')] },
  ),
  'GET /api/v1/blocks': read('Newest blocks first', answer('Blocks.', ref('Blocks')), {
    parameters: [limit],
  }),
  'GET /api/v1/critical': read(
    'Blocks of critical records, newest first',
    answer('Blocks.', ref('Critical')),
    {
      parameters: [limit, query('before', integer, 'Below this height.')],
    },
  ),
  'GET /api/v1/devices': read('Devices heard of', answer('Devices.', ref('Devices')), {
    parameters: [
      limit,
      query('sort', { enum: ['lastMs', 'records', 'device'] }, 'Default lastMs.'),
      query('search', text, 'In the name or a topic.'),
    ],
  }),
  'GET /api/v1/anomalies': read('Newest anomalies first', answer('Derived records.', ref('Anomalies')), {
    parameters: [limit],
  }),
  'GET /api/v1/windows': read('Newest windows first', answer('Derived records.', ref('Windows')), {
    parameters: [limit],
  }),
  'GET /api/v1/tail': read(
    'Server-sent events: figures and derived records',
    answer('A stream.', text, 'text/event-stream'),
  ),
  'GET /api/v1/openapi.json': read('This document', answer('OpenAPI 3.1.', { type: 'object' })),
  'GET /ledger/*': read('The C2SP tlog-tiles log', answer('A tile.', {}, 'application/octet-stream'), {
    description: 'The path after /ledger/ as that specification names it; `checkpoint` is text/plain.',
    parameters: [inPath('path', text, 'May hold slashes.')],
    responses: { '404': problem('There is no such tile.') },
  }),
  'GET /healthz': read('Liveness', answer('ok', text, 'text/plain')),
  'GET /readyz': read('Readiness', answer('ready', text, 'text/plain'), {
    responses: { '503': answer('Not ready.', text, 'text/plain') },
  }),
  'GET /metrics': read('Figures for Prometheus', answer('Exposition text.', text, 'text/plain')),
  'GET /': read('The dashboard', answer('A page.', text, 'text/html'), { security: [] }),
  'GET /*': read('The dashboard’s files', answer('A file.', {}, '*/*'), {
    parameters: [inPath('file', text, 'May hold slashes.')],
    security: [],
  }),
  'GET /api/v1/admin/principals': administer('All names', answer('Names.', ref('Principals')), false),
  'POST /api/v1/admin/add': administer('Add a name', answer('With its secret, once.', ref('Issued'))),
  'POST /api/v1/admin/import': administer(
    'Add many names',
    answer('With their secrets, once.', { type: 'object' }),
  ),
  'POST /api/v1/admin/revoke': administer('Revoke a name', answer('Done.', { type: 'object' })),
  'POST /api/v1/admin/rotate': administer(
    'A new secret for a name',
    answer('The secret, once.', ref('Issued')),
  ),
  'POST /api/v1/admin/reset-admin': administer(
    'A new admin token',
    answer('The token, once.', ref('Issued')),
  ),
  'POST /api/v1/admin/apply': administer(
    'Read the configuration again',
    answer('What counts now.', ref('Applied')),
  ),
};
