import fc from 'fast-check';
import { expect, test } from 'vitest';
import { templatesSchema } from '../../../gateway/codecs/config.ts';
import { FIELDS_MAX, numericFields } from '../../../gateway/codecs/fields.ts';
import { TopicTemplates } from '../../../gateway/codecs/template.ts';

const templates = new TopicTemplates(templatesSchema.parse(undefined));
const fieldsOf = (
  payload: string | Uint8Array,
  { topic = 'plant/pump-1/vibration', contentType = '' } = {},
) =>
  numericFields(
    { topic, contentType, payload: typeof payload === 'string' ? Buffer.from(payload) : payload },
    templates,
  );

test.each([
  ['{"value":0.42}', [['vibration', 0.42]]],
  [
    '{"rms":1,"peak":{"x":2}}',
    [
      ['vibration.rms', 1],
      ['vibration.peak.x', 2],
    ],
  ],
  ['0.42', [['vibration', 0.42]]],
  [' -3e2\n', [['vibration', -300]]],
  [
    '{"ts":5,"seq":6,"value":7,"in":{"seq":8}}',
    [
      ['vibration', 7],
      ['vibration.in.seq', 8],
    ],
  ],
  [
    '[1,[2,{"value":3}]]',
    [
      ['vibration.0', 1],
      ['vibration.1.0', 2],
      ['vibration.1.1', 3],
    ],
  ],
  ['{"a":"1","b":true,"c":null,"d":1e999}', []],
  ['{"value":', []],
  ['01', []],
  ['0x10', []],
  ['', []],
  ['on', []],
])('%s', (payload, fields) => {
  expect(fieldsOf(payload)).toEqual(fields);
});

test('without a metric the path alone names the number, and `value` one without a path', () => {
  expect(fieldsOf('{"value":1,"a":{"value":2,"b":3}}', { topic: 'x' })).toEqual([
    ['value', 1],
    ['a', 2],
    ['a.b', 3],
  ]);
  expect(fieldsOf('4', { topic: 'x' })).toEqual([['value', 4]]);
});

test('a binary content type has no fields', () => {
  expect(fieldsOf('4', { contentType: 'application/octet-stream' })).toEqual([]);
  expect(fieldsOf('4', { contentType: 'text/plain; charset=utf-8' })).toEqual([['vibration', 4]]);
});

test('depth and number of fields are bounded', () => {
  expect(fieldsOf(JSON.stringify(Array.from({ length: 1000 }, (_, at) => at)))).toHaveLength(FIELDS_MAX);
  expect(fieldsOf(`${'['.repeat(5000)}1${']'.repeat(5000)}`)).toEqual([]);
});

test('any bytes: never an exception, only finite numbers', () => {
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc.json().map((text) => Buffer.from(text)),
    fc.json().map((text) => Buffer.from(text.slice(0, text.length / 2))),
  );
  fc.assert(
    fc.property(anything, fc.string(), fc.string(), (payload, topic, contentType) => {
      for (const [, value] of fieldsOf(payload, { topic, contentType }))
        expect(Number.isFinite(value)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test('member names of every object prototype are ordinary names', () => {
  expect(fieldsOf('{"__proto__":{"x":1},"constructor":2}')).toEqual([
    ['vibration.__proto__.x', 1],
    ['vibration.constructor', 2],
  ]);
});

test('CBOR by its content type, with whole-number keys; bytes are no fields', () => {
  const contentType = 'application/cbor; profile=x';
  const payload = Buffer.from('a46274731a000003e8617601a16178f93e00f6', 'hex');
  expect(fieldsOf(payload, { contentType })).toEqual([]); // {"ts":1000,"v":1,{…}: a map as key} is refused
  const good = Buffer.concat([
    Buffer.from([0xa5]),
    Buffer.from('6274731903e8', 'hex'), // "ts": 1000
    Buffer.from('617601', 'hex'), // "v": 1
    Buffer.from('20fb3ff8000000000000', 'hex'), // -1: 1.5
    Buffer.from('616243010203', 'hex'), // "b": h'010203'
    Buffer.from('617381a1657661 6c7565 f9c400'.replaceAll(' ', ''), 'hex'), // "s": [{"value": -4.0}]
  ]);
  expect(fieldsOf(good, { contentType })).toEqual([
    ['vibration.v', 1],
    ['vibration.-1', 1.5],
    ['vibration.s.0', -4],
  ]);
});

test('line protocol: by metric, the tags the topic does not say, and field', () => {
  const contentType = 'text/vnd.influx.line-protocol; precision=s';
  const line = 'cpu,cpu=cpu0,host=gw-1 usage_idle=98.5,value=3i,on=t,name="x",big=9u 1763600000';
  expect(fieldsOf(line, { contentType, topic: 'telegraf/gw-1/cpu' })).toEqual([
    ['cpu.cpu=cpu0.usage_idle', 98.5],
    ['cpu.cpu=cpu0', 3],
    ['cpu.cpu=cpu0.big', 9],
  ]);
  expect(fieldsOf('cpu', { contentType })).toEqual([]);
  expect(fieldsOf('m v=1\nm v=2', { contentType, topic: 'x' })).toEqual([
    ['m.v', 1],
    ['m.v', 2],
  ]);
});

test('a value pointer names what is measured', () => {
  const pointed = new TopicTemplates(
    templatesSchema.parse([
      { topic: '{device}/{metric}', value: '/d/v' },
      { topic: 'x', value: '/d/v' },
    ]),
  );
  const read = (payload: string, topic: string) =>
    numericFields({ topic, contentType: '', payload: Buffer.from(payload) }, pointed);
  expect(read('{"n":1,"d":{"v":2}}', 'pump/rms')).toEqual([['rms', 2]]);
  expect(read('{"n":1,"d":{"v":{"x":2,"value":3}}}', 'pump/rms')).toEqual([
    ['rms.x', 2],
    ['rms', 3],
  ]);
  expect(read('{"n":1,"d":{"v":2}}', 'x')).toEqual([['v', 2]]);
  expect(read('{"n":1}', 'x')).toEqual([]);
});
