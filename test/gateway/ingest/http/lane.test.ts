// The lane that serves plain POSTs without node:http: what clients see must be what node:http gives them, byte for byte, for
// whatever they send and however it is cut.
import { connect, type Socket } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { type ServedIngest, type ServedOptions, serveIngest } from './served.ts';

const PATIENCE = { timeout: 30_000 };
const open: ServedIngest[] = [];

async function serve(options: ServedOptions = {}): Promise<ServedIngest> {
  const served = await serveIngest(options);
  open.push(served);
  return served;
}

afterEach(async () => {
  for (const served of open.splice(0)) await served.close();
});

const post = (body: string, more = '', topic = 'plant/a/v') =>
  `POST /api/v1/ingest/${topic} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${more}\r\n${body}`;

interface Client {
  readonly socket: Socket;
  /** All that has come. */
  text(): string;
  readonly closed: Promise<void>;
}

function client(served: ServedIngest): Client {
  const socket = connect({ port: Number(new URL(served.base).port), host: '127.0.0.1', noDelay: true });
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  return { socket, text: () => text, closed };
}

const answers = (text: string) => text.split('HTTP/1.1 ').length - 1;
/** Whether as many answers have come, the last of them whole. */
function isThere(text: string, count: number): boolean {
  const last = text.split('HTTP/1.1 ')[count] ?? '';
  const end = last.indexOf('\r\n\r\n');
  const length = /content-length: (\d+)/i.exec(last)?.[1] ?? 0;
  return end !== -1 && last.length >= end + 4 + Number(length);
}
const offsets = (text: string) => [...text.matchAll(/\{"offset":(\d+)/g)].map((match) => Number(match[1]));
const undated = (text: string) => text.replaceAll(/Date: [^\r]+/g, 'Date: -');

/** What a client sees that sends `request` and then a plain request, until `count` answers or the end have come. */
async function seen(served: ServedIngest, request: string, count: number, cut: number): Promise<string> {
  const { socket, text, closed } = client(served);
  let over = false;
  void closed.then(() => {
    over = true;
  });
  const bytes = Buffer.from(request, 'latin1');
  for (let at = 0; at < bytes.length && !over; at += cut) {
    socket.write(bytes.subarray(at, at + cut));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await vi.waitFor(() => expect(over || isThere(text(), count)).toBe(true), PATIENCE);
  socket.destroy();
  return undated(text());
}

const chunked =
  'POST /api/v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n';
const REQUESTS: readonly (readonly [name: string, request: string, answers: number])[] = [
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
  ['no HTTP', `nonsense\r\n\r\n${post('2')}`, 1],
];

test.each(REQUESTS)(
  '%s: the same answers as by node:http, and the same records',
  async (_name, request, count) => {
    const options = { harness: { ingest: { maxPayloadBytes: 1_024 } } };
    const [lane, node] = [await serve(options), await serve({ ...options, lane: false })];
    for (const cut of [request.length, Math.max(7, Math.ceil(request.length / 200))]) {
      const expected = await seen(node, request, count, cut);
      expect(await seen(lane, request, count, cut)).toBe(expected);
    }
    const kept = async (served: ServedIngest) =>
      (await served.harness.records()).map(({ topic, device, sequence, payload, contentType }) => {
        return { topic, device, sequence, contentType, payload: Buffer.from(payload).toString() };
      });
    await vi.waitFor(async () => expect(await kept(lane)).toEqual(await kept(node)), PATIENCE);
    await vi.waitFor(() => expect(lane.ingest.heldBytes).toBe(0), PATIENCE);
  },
);

test('answers keep the order of the requests, also where the connection changes hands meanwhile', async () => {
  const served = await serve();
  const { socket, text } = client(served);
  served.harness.disk.hold();
  socket.write(post('{"v":1}') + post('{', '', 'bad'));
  await served.harness.disk.syncAsked();
  socket.write(`${post('{"v":2}')}GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n${post('{"v":3}')}`);
  await vi.waitFor(() => expect(served.harness.admission.figures().inFlight).toBe(2), PATIENCE);
  expect(text()).toBe('');
  served.harness.disk.release();
  await vi.waitFor(() => expect(answers(text())).toBe(5), PATIENCE);
  expect([...text().matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])).toEqual([
    '202',
    '400',
    '202',
    '204',
    '202',
  ]);
  expect(offsets(text())).toEqual([0, 1, 2]);
  socket.destroy();
});

test('who sends without reading answers is not read without end', async () => {
  const served = await serve();
  const { socket, text } = client(served);
  served.harness.disk.hold();
  socket.write(post('{"v":1}').repeat(1_000));
  await vi.waitFor(() => expect(served.harness.admission.figures().inFlight).toBe(128), PATIENCE);
  served.harness.disk.release();
  await vi.waitFor(() => expect(answers(text())).toBe(1_000), PATIENCE);
  expect(offsets(text())).toEqual(Array.from({ length: 1_000 }, (_, offset) => offset));
  expect(served.ingest.heldBytes).toBe(0);
  socket.destroy();
});

test('a client that says its last is answered; what one leaves behind is given up', async () => {
  const served = await serve();
  const last = client(served);
  served.harness.disk.hold();
  last.socket.end(post('{"v":1}'));
  await served.harness.disk.syncAsked();
  served.harness.disk.release();
  await last.closed;
  expect(offsets(last.text())).toEqual([0]);
  const gone = client(served);
  gone.socket.write(post('x'.repeat(100_000)).slice(0, 50_000));
  await vi.waitFor(() => expect(served.ingest.heldBytes).toBeGreaterThan(40_000), PATIENCE);
  gone.socket.destroy();
  await vi.waitFor(() => expect(served.ingest.heldBytes).toBe(0), PATIENCE);
});

test('many bodies at once are bounded for all connections together', async () => {
  const served = await serve({ http: { maxHeldBytes: 1_048_576 } });
  served.harness.disk.hold();
  const body = JSON.stringify('x'.repeat(200_000));
  const clients = Array.from({ length: 8 }, () => client(served));
  for (const { socket } of clients) socket.write(post(body));
  const refused = () => clients.filter(({ text }) => text().startsWith('HTTP/1.1 429')).length;
  await vi.waitFor(() => expect(refused()).toBe(3), PATIENCE);
  served.harness.disk.release();
  const stored = () => clients.filter(({ text }) => text().startsWith('HTTP/1.1 202')).length;
  await vi.waitFor(() => expect(stored()).toBe(5), PATIENCE);
  for (const { socket } of clients) socket.destroy();
});

test('who is idle is closed', async () => {
  const served = await serve({ keepAliveTimeoutMs: 1_000 });
  const idle = client(served);
  idle.socket.write(post('1'));
  await idle.closed;
  expect(answers(idle.text())).toBe(1);
});

test('the end of ingest gives its connections back to the server, which closes them', async () => {
  const served = await serve();
  const [idle, begun] = [client(served), client(served)];
  idle.socket.write(post('1'));
  begun.socket.write(post('1') + post('2').slice(0, 40));
  await vi.waitFor(() => expect([idle, begun].map(({ text }) => answers(text()))).toEqual([1, 1]), PATIENCE);
  await served.ingest.close();
  served.server.closeAllConnections();
  await Promise.all([idle.closed, begun.closed]);
});
