// Requests to a server with and without the lane: plain ones, and whatever is near to them. Sends nothing.

export const post = (body: string, more = '', topic = 'plant/a/v') =>
  `POST /api/v1/ingest/${topic} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${more}\r\n${body}`;

/** As one text in Latin-1, and how many answers node:http gives to it. */
const chunked =
  'POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n';
export const REQUESTS: readonly (readonly [name: string, request: string, answers: number])[] = [
  ['two plain ones', post('{"v":1}') + post('{"v":2}'), 2],
  ['a refused one between', post('1') + post('{', '', 'a/b') + post('2'), 3],
  ['a topic that is refused, in UTF-8', post('1', '', 'a/%C3%A9/%23') + post('2'), 2],
  ['too long a payload', post('x'.repeat(2_000)) + post('2'), 2],
  [
    'NDJSON',
    post('{"v":1}\n\n{"v":\n3\n').replace('application/json', 'application/x-ndjson') + post('2'),
    2,
  ],
  ['an empty body', post('') + post('2'), 2],
  ['its own headers', post('1', 'Tidemark-Device: d\u00c3\u00a9\r\nTidemark-Sequence: 7\r\n') + post('2'), 2],
  ['a wrong header of ours', post('1', 'Tidemark-Sequence: -7\r\n') + post('2'), 2],
  ['wrong credentials', post('1', 'Authorization: Bearer nobody\r\n') + post('2'), 2],
  ['another host', post('1').replace('localhost', 'evil.example') + post('2'), 2],
  ['a page', post('1', 'Origin: http://evil.example\r\n') + post('2'), 2],
  ['a GET after it', `${post('1')}GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n${post('2')}`, 3],
  ['chunks', chunked + post('2'), 2],
  ['chunks after it', post('1') + chunked + post('2'), 3],
  ['chunks and a length', post('1', 'Transfer-Encoding: chunked\r\n') + post('2'), 1],
  ['two lengths', post('1', 'Content-Length: 1\r\n') + post('2'), 1],
  ['two other lengths', post('1', 'Content-Length: 2\r\n') + post('2'), 1],
  ['a length that is none', post('1').replace('Length: 1', 'Length: +1') + post('2'), 1],
  ['no host', post('1').replace('Host: localhost\r\n', '') + post('2'), 1],
  ['a line that is folded', post('1', 'X-A: b\r\n c\r\n') + post('2'), 1],
  ['a space before the colon', post('1', 'X-A : b\r\n') + post('2'), 1],
  ['a bare line feed', post('1', 'X-A: b\nX-C: d\r\n') + post('2'), 1],
  ['a NUL', post('1', 'X-A: b\0c\r\n') + post('2'), 1],
  ['a head without end', post('1', `X-A: ${'a'.repeat(20_000)}\r\n`) + post('2'), 1],
  ['HTTP/1.0', post('1').replace('HTTP/1.1', 'HTTP/1.0'), 1],
  ['a connection to be closed', post('1', 'Connection: close\r\n'), 1],
  ['a connection to be kept', post('1', 'Connection: keep-alive\r\n') + post('2'), 2],
  ['an upgrade', post('1', 'Connection: Upgrade\r\nUpgrade: h2c\r\n'), 1],
  ['an expectation', post('1', 'Expect: 100-continue\r\n') + post('2'), 3],
  ['another expectation', post('1', 'Expect: tea\r\n') + post('2'), 2],
  ['a compressed body that is none', post('1', 'Content-Encoding: gzip\r\n') + post('2'), 2],
  ['an absolute target', post('1').replace('POST ', 'POST http://localhost') + post('2'), 2],
  ['another method', post('1').replace('POST ', 'PUT ') + post('2'), 2],
  ['a HEAD between', `${post('1')}HEAD /ping HTTP/1.1\r\nHost: localhost\r\n\r\n${post('2')}`, 3],
  ['a body beyond the lane', post(`"${'x'.repeat(300_000)}"`) + post('2'), 2],
  [
    'lines that are all wrong',
    post('x\n'.repeat(500)).replace('application/json', 'application/x-ndjson').repeat(3) + post('2'),
    4,
  ],
  ['another path', post('1').replace('/api/v1/ingest/', '/api/v1/other/') + post('2'), 2],
  ['an array', post('[1,2,{"a":[]}]', '', 'plant/a/v?batch=array') + post('2'), 2],
  ['empty lines between', `${post('1')}\r\n${post('2')}`, 2],
  ['a header without a value', post('1', 'X-A:\r\n') + post('2'), 2],
  ['no HTTP', `nonsense\r\n\r\n${post('2')}`, 1],
];
