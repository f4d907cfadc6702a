// The lane that serves plain POSTs without node:http: what clients see must be what node:http gives them, byte for byte, for
// whatever they send and however it is cut.
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { post, REQUESTS } from './lane-requests.ts';
import { type ServedIngest, type ServedOptions, serveIngest } from './served.ts';

const PATIENCE = { timeout: 30_000 };
/** For what takes seconds of work. */
const LONG = { timeout: 120_000, interval: 100 };
const open: ServedIngest[] = [];

async function serve(options: ServedOptions = {}): Promise<ServedIngest> {
  const served = await serveIngest(options);
  open.push(served);
  return served;
}

afterEach(async () => {
  for (const served of open.splice(0)) await served.close();
});

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

describe('the same answers as by node:http, and the same records', () => {
  /** With the lane and without, for all of them: opening servers takes longer than asking them. */
  let lane: ServedIngest;
  let node: ServedIngest;
  beforeAll(async () => {
    const options = { harness: { ingest: { maxPayloadBytes: 1_024 } } };
    [lane, node] = [await serveIngest(options), await serveIngest({ ...options, lane: false })];
  });
  afterAll(async () => {
    await lane.close();
    await node.close();
  });

  const kept = async (served: ServedIngest) =>
    (await served.harness.records()).map(({ topic, device, sequence, payload, contentType }) => {
      return { topic, device, sequence, contentType, payload: Buffer.from(payload).toString() };
    });

  test.each(REQUESTS)('%s', async (_name, request, count) => {
    for (const cut of [request.length, Math.max(7, Math.ceil(request.length / 200))]) {
      const expected = await seen(node, request, count, cut);
      expect(await seen(lane, request, count, cut)).toBe(expected);
    }
    await vi.waitFor(async () => expect(await kept(lane)).toEqual(await kept(node)), PATIENCE);
    await vi.waitFor(() => expect(lane.ingest.heldBytes).toBe(0), PATIENCE);
  });
});

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

test('where there is no room for more, a connection changes hands once', async () => {
  const served = await serve({ http: { maxHeldBytes: 1_048_576 } });
  const fillers = [262_000, 262_000, 262_000, 261_000].map((length) => {
    const filler = client(served);
    filler.socket.write(post(JSON.stringify('x'.repeat(length - 2))).slice(0, -1));
    return filler;
  });
  await vi.waitFor(() => expect(served.ingest.heldBytes).toBeGreaterThan(1_047_000), PATIENCE);
  // Longer than what room is left.
  const ping = `GET /ping HTTP/1.1\r\nHost: localhost\r\nX-A: ${'a'.repeat(2_000)}\r\n`;
  const { socket, text, closed } = client(served);
  socket.write(`${ping}\r\n${ping}Connection: close\r\n\r\n`);
  await closed;
  expect(answers(text())).toBe(2);
  expect(socket.bytesRead).toBe(text().length);
  for (const filler of fillers) filler.socket.destroy();
});

test('who sends a byte now and then is given to node:http, which has the clocks for that', async () => {
  const served = await serve();
  const { socket, text } = client(served);
  const bytes = [...post('{"v":1}', 'X-A: and many more of them\r\n')];
  let sent = 0;
  const dripping = setInterval(() => {
    if (sent < 60) socket.write(bytes[sent++]!);
  }, 100);
  await vi.waitFor(() => expect(served.ingest.heldBytes).toBeGreaterThan(3), PATIENCE);
  // Whose parser keeps what has come of a head itself.
  await vi.waitFor(() => expect(served.ingest.heldBytes).toBe(0), PATIENCE);
  clearInterval(dripping);
  socket.write(bytes.slice(sent).join(''));
  await vi.waitFor(() => expect(answers(text())).toBe(1), PATIENCE);
  expect(offsets(text())).toEqual([0]);
  socket.destroy();
});

test('who sends no more in the middle of a request is told, as by node:http', async () => {
  const [lane, node] = [await serve(), await serve({ lane: false })];
  const told = async (served: ServedIngest) => {
    const { socket, text, closed } = client(served);
    socket.end(post('{"v":1}').slice(0, 60));
    await closed;
    return text();
  };
  expect(await told(lane)).toBe(await told(node));
});

/** Refuses what comes under plant/ with many words for few bytes, and at little cost. */
const REFUSING = {
  harness: {
    ingest: {
      schemas: [{ topics: ['plant/#'], schema: { required: ['a property of many words '.repeat(12)] } }],
    },
  },
};
const refusedBatch = (lines: number) =>
  post('{}\n'.repeat(lines)).replace('application/json', 'application/x-ndjson');

test('batches sent without end, all wrong, are not answered into memory', async () => {
  const served = await serve(REFUSING);
  const { socket, text } = client(served);
  const batch = refusedBatch(2_000);
  const count = 80;
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, served.ingest.heldBytes);
  }, 1);
  socket.pause();
  socket.write(batch.repeat(count));
  await vi.waitFor(() => expect(most).toBeGreaterThan(0), PATIENCE);
  socket.resume();
  await vi.waitFor(() => expect(answers(text())).toBe(count), { timeout: 30_000, interval: 200 });
  clearInterval(watch);
  // What is served at once, and what has been read beyond it: a part of all that was sent.
  expect(most).toBeLessThan(200_000);
  socket.destroy();
});

test.each([true, false])(
  'answers that nobody reads are bounded for all connections together: those beyond it end (lane: %s)',
  async (lane) => {
    // Some 17 MB of answers, each less than half of what may wait: far more than the kernel keeps for a connection.
    const many = refusedBatch(1_500).repeat(40);
    const roomy = await serve({ ...REFUSING, lane });
    const patient = client(roomy);
    patient.socket.pause();
    patient.socket.write(many);
    await vi.waitFor(() => expect(roomy.ingest.unreadBytes).toBeGreaterThan(100_000), LONG);
    patient.socket.destroy();
    await vi.waitFor(() => expect(roomy.ingest.unreadBytes).toBe(0), LONG);

    const narrow = await serve({ ...REFUSING, lane, http: { maxHeldBytes: 1_048_576 } });
    const greedy = Array.from({ length: 6 }, () => client(narrow).socket);
    const connections = () =>
      new Promise<number>((resolve) => narrow.server.getConnections((_, count) => resolve(count)));
    await vi.waitFor(async () => expect(await connections()).toBe(greedy.length), LONG);
    for (const socket of greedy) {
      socket.pause();
      socket.write(many);
    }
    await vi.waitFor(async () => expect(await connections()).toBeLessThan(greedy.length), LONG);
    expect(narrow.ingest.unreadBytes).toBeLessThanOrEqual(1_048_576);
    const next = client(narrow);
    next.socket.write(post('{"v":1}', '', 'other/a/v'));
    await vi.waitFor(() => expect(answers(next.text())).toBe(1), LONG);
    expect(offsets(next.text())).toEqual([0]);
    for (const socket of [next.socket, ...greedy]) socket.destroy();
    await vi.waitFor(() => expect(narrow.ingest.unreadBytes).toBe(0), LONG);
  },
  300_000,
);

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
