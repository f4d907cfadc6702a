// Fuzz targets of what HTTP and WebSocket clients send: any bytes are read or refused by the error of their kind, and what
// is taken for a record are bytes of the input.
import { encode } from 'cborg';
import { CborError, decodeCbor } from '../../gateway/codecs/cbor.ts';
import { numericFields } from '../../gateway/codecs/fields.ts';
import { LineProtocolError, parseLine, protocolLines } from '../../gateway/codecs/line-protocol.ts';
import { parsePointer } from '../../gateway/codecs/pointer.ts';
import { TopicTemplates } from '../../gateway/codecs/template.ts';
import { cborItems, jsonArrayItems, ndjsonItems, type Split } from '../../gateway/ingest/http/batch.ts';
import { readCborFrame, readJsonFrame } from '../../gateway/ingest/websocket/frame.ts';
import { type Target, utf8 } from './target.ts';

const ITEMS_MAX = 1_000;

const values = [{ ts: 1_763_600_000_000, seq: 7, value: 0.42 }, [1, [2, { a: 'é' }]], 'x', -5, null, 1e300];
const frames = [
  { id: 1, topic: 'plant/p/x', payload: { value: 1 }, sequence: 4, device: 'd' },
  {
    id: 2,
    batch: [
      { topic: 'a', payload: 1 },
      { topic: 'b', payload: [2], messageId: 'm' },
    ],
  },
  { hello: { session: 's', acked: 4 } },
];
const LINES = [
  'cpu,host=gw-1,cpu=cpu0 usage=98.5,on=t,n=7i,u=9u,s="a \\"b\\" \\\\" 1763600000000000000\nmem free=1',
  'my\\ meas\\,x,tag\\ key=a\\=b v=1\r\n# comment\n\nm s="line\nend",v=2 -5',
];

/** Whatever `read` throws besides `Refusal` is a finding. */
function refusedOnlyBy(Refusal: new (message: string) => Error, read: () => void): boolean {
  try {
    read();
    return true;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

function isPart(part: Buffer, whole: Buffer): boolean {
  return part.length === 0 || (part.buffer === whole.buffer && part.byteOffset >= whole.byteOffset);
}

/** What sliced work comes to when it is not interrupted. */
function finished<T>(work: Generator<void, T, void>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** As under a topic without a template. */
const looked = parsePointer('/ts').nameBits | parsePointer('/seq').nameBits;

const batch = (name: string, split: Split, good: readonly Uint8Array[]): Target => ({
  name,
  good,
  check: (bytes, isGood) => {
    const items = finished(split(bytes, { maxBatchLines: ITEMS_MAX, maxPayloadBytes: 1_048_576 }, looked));
    if (typeof items === 'string') {
      if (isGood && items !== 'too-many') throw new Error(`good input is refused: ${items}`);
      return;
    }
    let last = 0;
    for (const { number, payload, problem, givesNothing } of items) {
      if (number <= last || !isPart(payload, bytes))
        throw new Error('items out of order, or not of the input');
      if (givesNothing && 'ts' in Object(JSON.parse(payload.toString('utf8'))))
        throw new Error('a line that gives its time is not to be parsed');
      if (isGood && problem !== null) throw new Error(`good input is refused: ${problem}`);
      last = number;
    }
  },
});

export function ingestTargets(): Target[] {
  const templates = new TopicTemplates([]);
  const fieldsOf = (payload: Buffer, contentType: string) => {
    for (const [name, value] of numericFields({ topic: 'a/b', contentType, payload }, templates))
      if (typeof name !== 'string' || !Number.isFinite(value)) throw new Error('a field that is none');
  };
  const arrays = batch('', jsonArrayItems, []);
  const json = values.map((value) => utf8(JSON.stringify(value)));
  return [
    {
      name: 'CBOR',
      good: values.map((value) => encode(value)),
      check: (bytes, isGood) => {
        const read = refusedOnlyBy(CborError, () => void decodeCbor(bytes));
        if (isGood && !read) throw new Error('good input is refused');
        fieldsOf(bytes, 'application/cbor');
      },
    },
    {
      name: 'line protocol',
      good: LINES.map(utf8),
      check: (bytes, isGood) => {
        const lines = protocolLines(bytes, ITEMS_MAX) ?? [];
        for (const { bytes: line } of lines) {
          if (!isPart(line, bytes)) throw new Error('a line that is not of the input');
          const read = refusedOnlyBy(LineProtocolError, () => void parseLine(line));
          if (isGood && !read) throw new Error('good input is refused');
        }
        fieldsOf(bytes, 'text/vnd.influx.line-protocol');
      },
    },
    batch('NDJSON batch', ndjsonItems, [utf8(values.map((value) => JSON.stringify(value)).join('\n'))]),
    {
      ...batch('JSON array batch', jsonArrayItems, [
        utf8(JSON.stringify(values)),
        utf8(' [ 1.0 , "]" ,{ } ] '),
      ]),
      // Its caller has checked that it is valid UTF-8.
      check: (bytes, isGood) => arrays.check(Buffer.from(bytes.toString('utf8')), isGood),
    },
    batch('CBOR sequence', cborItems, [Buffer.concat(values.map((value) => encode(value)))]),
    {
      name: 'WebSocket frames',
      good: [
        ...json,
        ...frames.map((frame) => utf8(JSON.stringify(frame))),
        ...frames.map((frame) => encode(frame)),
      ],
      check: (bytes) => {
        // A text message is valid UTF-8: the WebSocket layer sees to that.
        readJsonFrame(Buffer.from(bytes.toString('utf8')), ITEMS_MAX);
        readCborFrame(bytes, ITEMS_MAX);
      },
    },
  ];
}
