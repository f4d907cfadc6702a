import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { decode } from 'cborg';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { anonymousAccess } from '../../../../gateway/access/anonymous.ts';
import { CallerGuard } from '../../../../gateway/ingest/caller.ts';
import { Door } from '../../../../gateway/ingest/door.ts';
import { attachWebSocket, type WebSocketIngest } from '../../../../gateway/ingest/websocket/attach.ts';
import { type WebSocketConfig, webSocketConfigSchema } from '../../../../gateway/ingest/websocket/config.ts';
import { readJsonFrame } from '../../../../gateway/ingest/websocket/frame.ts';
import { Harness } from '../../admission/harness.ts';

let harness: Harness;
let server: Server;
let guard: CallerGuard;
let ingest: WebSocketIngest;
let url: string;

async function start(
  config: Partial<WebSocketConfig> = {},
  allowedHosts: readonly string[] = [],
): Promise<void> {
  harness = await Harness.open();
  server = createServer();
  guard = new CallerGuard({ host: '127.0.0.1', allowedHosts });
  const door = new Door(anonymousAccess, guard);
  ingest = attachWebSocket(server, {
    path: '/ws',
    admission: harness.admission,
    config: webSocketConfigSchema.parse(config),
    door,
    logger: harness.lines,
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`;
}

afterEach(async () => {
  harness.disk.full = false;
  harness.disk.release();
  await ingest.close();
  server.close();
  server.closeAllConnections();
  await harness.remove();
});

/** A client whose answers are taken one by one. */
class Client {
  readonly socket: WebSocket;
  readonly #answers: unknown[] = [];
  #waiting: ((answer: unknown) => void) | null = null;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data, isBinary) => {
      const answer: unknown = isBinary ? decode(data as Buffer) : JSON.parse(String(data));
      const waiting = this.#waiting;
      this.#waiting = null;
      if (waiting) waiting(answer);
      else this.#answers.push(answer);
    });
  }

  static async open(options: { origin?: string } = {}): Promise<Client> {
    const client = new Client(new WebSocket(url, options));
    await once(client.socket, 'open');
    return client;
  }

  send(frame: object | string): void {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  next(): Promise<unknown> {
    if (this.#answers.length > 0) return Promise.resolve(this.#answers.shift());
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  get untaken(): number {
    return this.#answers.length;
  }
}

const payloads = async () => (await harness.records()).map(({ payload }) => Buffer.from(payload).toString());
const TOPIC = 'plant/pump-1/vibration';

describe('as devices use it', () => {
  beforeEach(() => start());

  test('the payload is stored as it stands in the frame, the rest is used', async () => {
    const client = await Client.open();
    client.send(
      `{ "id":"a-1","topic":"${TOPIC}", "payload" : {"value": 0.420 , "é":1} ,"device":"p","sequence":5,"eventMs":1763600000000}`,
    );
    expect(await client.next()).toEqual({ ack: 'a-1', offset: 0 });
    expect(await payloads()).toEqual(['{"value": 0.420 , "é":1}']);
    expect((await harness.records())[0]).toMatchObject({
      topic: TOPIC,
      device: 'p',
      sequence: 5,
      eventMs: 1_763_600_000_000,
      source: 2,
      contentType: 'application/json',
    });
  });

  test('a repetition is acknowledged and stored once', async () => {
    const client = await Client.open();
    client.send({ id: 1, topic: TOPIC, payload: { seq: 1 } });
    client.send({ id: 2, topic: TOPIC, payload: { seq: 1 } });
    expect([await client.next(), await client.next()]).toEqual([
      { ack: 1, offset: 0 },
      { ack: 2, offset: null, duplicate: true },
    ]);
  });

  test('no ack while the sync is held back, not even of a repetition', async () => {
    const client = await Client.open();
    harness.disk.hold();
    client.send({ id: 1, topic: TOPIC, payload: { seq: 1 } });
    client.send({ id: 2, topic: TOPIC, payload: { seq: 1 } });
    await harness.disk.syncAsked();
    client.socket.ping();
    await once(client.socket, 'pong');
    expect(client.untaken).toBe(0);
    harness.disk.release();
    expect(await client.next()).toEqual({ ack: 1, offset: 0 });
    expect(await client.next()).toMatchObject({ ack: 2, duplicate: true });
  });

  test.each([
    ['{"id":1', null],
    ['[1]', null],
    ['{"id":{},"topic":"a","payload":1}', null],
    ['{"id":1,"payload":1}', 1],
    ['{"id":1,"topic":"a"}', 1],
    ['{"id":1,"topic":"a","payload":1,"sequence":-1}', 1],
    ['{"id":1,"topic":"a","payload":1,"eventMs":"now"}', 1],
    ['{"id":"x","topic":"a","payload":1,"device":7}', 'x'],
    ['{"id":1,"topic":"a","payload":1,"seqence":7}', 1],
  ])('%s is malformed, and the connection stays', async (frame, id) => {
    const client = await Client.open();
    client.send(frame);
    expect(await client.next()).toMatchObject({
      id,
      error: { code: 'malformed', detail: expect.any(String) },
    });
    client.send({ id: 9, topic: 'a', payload: null });
    expect(await client.next()).toEqual({ ack: 9, offset: 0 });
    expect(harness.admission.figures()).toMatchObject({
      refused: { websocket: 1 },
      accepted: { websocket: 1 },
    });
  });

  test('binary frames, bad topics and a full disk have their codes', async () => {
    const client = await Client.open();
    client.socket.send(Buffer.from('{}'));
    expect(await client.next()).toMatchObject({ id: null, error: { code: 'malformed' } });
    client.send({ id: 1, topic: '$SYS/a', payload: 1 });
    expect(await client.next()).toMatchObject({ id: 1, error: { code: 'bad-topic' } });
    client.send({ id: 2, topic: 'a', payload: 1 });
    await client.next();
    harness.disk.full = true;
    client.send({ id: 3, topic: 'a', payload: 1 });
    expect(await client.next()).toMatchObject({ id: 3, error: { code: 'disk-full', retryAfterMs: 5000 } });
  });

  test('pages of another origin, and names that are not this machine’s, are refused; an own page is not', async () => {
    const own = url.replace('ws:', 'http:').replace('/ws', '');
    for (const origin of ['http://evil.example', 'null', own.replace('127.0.0.1', 'localhost'), `${own}1`]) {
      await expect(Client.open({ origin })).rejects.toThrow('403');
    }
    const rebound = new WebSocket(url, { headers: { host: 'evil.example' }, origin: 'http://evil.example' });
    await expect(once(rebound, 'open')).rejects.toThrow('403');
    await Client.open({ origin: own });
    expect(ingest.figures()).toEqual({ connections: 1, connectionsRefused: 5 });
    expect(guard.refused).toEqual({ 'loopback-only': 0, 'host-not-allowed': 1, 'origin-not-allowed': 4 });
    // Counted by the guard, hence not by admission.
    expect(harness.admission.figures().rejected['not-allowed']).toBe(0);
  });

  test('another path is 404 when nobody else takes it, and left to others when they do', async () => {
    const other = url.replace('/ws', '/other');
    await expect(once(new WebSocket(other), 'open')).rejects.toThrow('404');
    server.on('upgrade', (request, socket) => {
      if (request.url === '/other') socket.end('HTTP/1.1 418 taken\r\nConnection: close\r\n\r\n');
    });
    await expect(once(new WebSocket(other), 'open')).rejects.toThrow('418');
  });

  test('close answers what is in flight and says it is going away', async () => {
    const client = await Client.open();
    harness.disk.hold();
    client.send({ id: 1, topic: 'a', payload: 1 });
    await harness.disk.syncAsked();
    const ended = once(client.socket, 'close');
    const closed = ingest.close();
    harness.disk.release();
    expect(await client.next()).toEqual({ ack: 1, offset: 0 });
    expect((await ended)[0]).toBe(1001);
    await closed;
  });

  test('garbage to the port harms nobody else', async () => {
    const port = (server.address() as AddressInfo).port;
    const upgrade = [
      'GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n',
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    ].join('');
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 40 }), fc.boolean(), async (bytes, upgraded) => {
        const socket = connect(port, '127.0.0.1');
        socket.on('error', () => {});
        socket.resume();
        socket.end(Buffer.concat([Buffer.from(upgraded ? upgrade : ''), bytes, Buffer.from('\r\n\r\n')]));
        await once(socket, 'close');
      }),
      { numRuns: 60 },
    );
    const client = await Client.open();
    client.send({ id: 1, topic: 'a', payload: 1 });
    expect(await client.next()).toMatchObject({ ack: 1 });
  });
});

test('reading pauses while more than maxInFlight records wait for the disk', async () => {
  await start({ maxInFlight: 10 });
  const client = await Client.open();
  harness.disk.hold();
  const filler = randomBytes(6000).toString('hex');
  for (let id = 0; id < 1000; id += 1) client.send({ id, topic: 'a', payload: filler });
  await harness.disk.syncAsked();
  while (harness.admission.figures().inFlight < 10) await new Promise((resolve) => setImmediate(resolve));
  for (let turns = 0; turns < 50; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  // What one read of the socket had brought along is taken still.
  expect(harness.admission.figures().inFlight).toBeLessThan(30);
  harness.disk.release();
  for (let id = 0; id < 1000; id += 1) expect(await client.next()).toMatchObject({ ack: id });
});

test('a frame too long closes with 1009, one connection too many is answered 503', async () => {
  await start({ maxFrameBytes: 1024, maxConnections: 1 });
  const client = await Client.open();
  await expect(Client.open()).rejects.toThrow('503');
  client.send({ id: 1, topic: 'a', payload: 'x'.repeat(1024) });
  expect((await once(client.socket, 'close'))[0]).toBe(1009);
  expect(harness.admission.figures().rejected['too-large']).toBe(1);
});

test('a connection that leaves a ping unanswered is ended', async () => {
  await start({ pingIntervalMs: 100 });
  const silent = new WebSocket(url, { autoPong: false });
  const client = await Client.open();
  await once(silent, 'close');
  expect(client.socket.readyState).toBe(WebSocket.OPEN);
});

test('who may connect is the guard’s decision, and its code is in the answer', async () => {
  await start({}, ['gw.example']);
  const upgrade = (host: string) => new WebSocket(url, { headers: { host } });
  await once(upgrade('gw.example:8080'), 'open');
  const refused = upgrade('other.example');
  const [, response] = (await once(refused, 'unexpected-response')) as [unknown, IncomingMessage];
  expect(response.statusCode).toBe(403);
  expect(response.headers['content-type']).toBe('application/problem+json');
  expect(JSON.parse(await text(response))).toMatchObject({ status: 403, code: 'host-not-allowed' });
});

test('frames of any kind: never an exception', () => {
  const member = fc.constantFrom('id', 'topic', 'device', 'sequence', 'eventMs', 'payload', 'other');
  const object = fc.dictionary(member, fc.jsonValue({ maxDepth: 2 })).map((value) => JSON.stringify(value));
  fc.assert(
    fc.property(
      fc.oneof(object, fc.json(), fc.string({ unit: 'binary' })),
      (text) => void readJsonFrame(Buffer.from(text), 10),
    ),
    { numRuns: 500 },
  );
});
