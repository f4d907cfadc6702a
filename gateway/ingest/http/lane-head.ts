// Reads the head of the one kind of request that is served without node:http: a POST to an ingest path with a length, plain
// and complete. Refuses to judge anything else: what is unusual, doubtful or wrong is left to node:http as it came.
//
//   head = "POST /api/v1/ingest/…" SP "HTTP/1.1" CRLF *( name ":" OWS value OWS CRLF ) CRLF      RFC 9112 §2.1, §5
import type { IncomingHttpHeaders } from 'node:http';
import type { HttpRefusal } from './refusal.ts';
import type { IngestHead } from './request.ts';

export interface LaneHead {
  /** Its bytes, the empty line included. */
  readonly bytes: Buffer;
  readonly url: string;
  /** Names in lower case; each name once. */
  readonly headers: IncomingHttpHeaders;
  readonly contentLength: number;
  /** What its route has read from it; it stays true for each request that says the same. */
  read: IngestHead | HttpRefusal | null;
}

const BEGINNING = Buffer.from('POST /api/v1/ingest/');
const END = Buffer.from('\r\n\r\n');
const LINES_MAX = 64;
const REQUEST_LINE = /^POST (\/api\/v1\/ingest\/[\x21-\x7e]*) HTTP\/1\.1$/;
const FIELD =
  /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)[ \t]*$/;
const LENGTH = /^(?:0|[1-9][0-9]{0,8})$/;
/** What changes how the request or the connection is to be read. */
const NOT_HERE: ReadonlySet<string> = new Set([
  'transfer-encoding',
  'content-encoding',
  'expect',
  'upgrade',
  'http2-settings',
  'trailer',
  'te',
  'proxy-connection',
  'keep-alive',
]);

/** The head that begins at `at`; 'more': it is not all there yet; 'other': not for here. `known`: the one read before. */
export function readLaneHead(
  bytes: Buffer,
  at: number,
  maxBytes: number,
  known: LaneHead | null,
): LaneHead | 'more' | 'other' {
  // A client says mostly the same again.
  if (known !== null && bytes.length - at >= known.bytes.length) {
    if (known.bytes.compare(bytes, at, at + known.bytes.length) === 0) return known;
  }
  const there = Math.min(BEGINNING.length, bytes.length - at);
  if (BEGINNING.compare(bytes, at, at + there, 0, there) !== 0) return 'other';
  const found = bytes.indexOf(END, at);
  if (found === -1) return bytes.length - at > maxBytes ? 'other' : 'more';
  const end = found + END.length;
  return end - at > maxBytes ? 'other' : parse(bytes, at, found, end);
}

function parse(bytes: Buffer, at: number, found: number, end: number): LaneHead | 'other' {
  const [first, ...lines] = bytes.toString('latin1', at, found).split('\r\n');
  const url = REQUEST_LINE.exec(first!)?.[1];
  if (url === undefined || lines.length > LINES_MAX) return 'other';
  const headers: Record<string, string> = Object.create(null);
  for (const line of lines) {
    const match = FIELD.exec(line);
    if (match === null) return 'other';
    const name = match[1]!.toLowerCase();
    const value = match[2]!;
    if (name in headers || NOT_HERE.has(name)) return 'other';
    if (name === 'connection' && value.toLowerCase() !== 'keep-alive') return 'other';
    headers[name] = value;
  }
  const length = headers['content-length'];
  if (headers.host === undefined || length === undefined || !LENGTH.test(length)) return 'other';
  return {
    bytes: Buffer.from(bytes.subarray(at, end)),
    url,
    headers,
    contentLength: Number(length),
    read: null,
  };
}
