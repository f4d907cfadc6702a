// Sessions over WebSocket: CBOR and JSON frames, batches, one ack for many, credit, and what a client that lost its
// connection learns.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { decode, encode } from 'cborg';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { anonymousAccess } from '../../../../gateway/access/anonymous.ts';
import { decodeCbor } from '../../../../gateway/codecs/cbor.ts';
import { encodeCbor } from '../../../../gateway/codecs/cbor-write.ts';
import { CallerGuard } from '../../../../gateway/ingest/caller.ts';
import { Door } from '../../../../gateway/ingest/door.ts';
import { attachWebSocket, type WebSocketIngest } from '../../../../gateway/ingest/websocket/attach.ts';
import { webSocketConfigSchema } from '../../../../gateway/ingest/websocket/config.ts';
import { readCborFrame } from '../../../../gateway/ingest/websocket/frame.ts';
import { Session, Sessions } from '../../../../gateway/ingest/websocket/session.ts';
import { Harness, type HarnessOptions } from '../../admission/harness.ts';

let harness: Harness;
let server: Server;
let ingest: WebSocketIngest;
let url: string;

async function start(config: Record<string, number> = {}, options: HarnessOptions = {}): Promise<void> {
  harness = await Harness.open(options);
  server = createServer();
  ingest = attachWebSocket(server, {
    path: '/ws',
    admission: harness.admission,
    config: webSocketConfigSchema.parse(config),
    door: new Door(anonymousAccess, new CallerGuard({ host: '127.0.0.1', allowedHosts: [] })),
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

type Answer = Record<string, unknown> & { acked?: number; credit?: number };

class Client {
  readonly socket = new WebSocket(url);
  readonly answers: Answer[] = [];
  readonly #encoding: 'json' | 'cbor';
  #wake: () => void = () => {};

  private constructor(encoding: 'json' | 'cbor') {
    this.#encoding = encoding;
    this.socket.on('message', (data, isBinary) => {
      this.answers.push((isBinary ? decode(data as Buffer) : JSON.parse(String(data))) as Answer);
      this.#wake();
    });
  }

  static async open(encoding: 'json' | 'cbor' = 'json'): Promise<Client> {
    const client = new Client(encoding);
    await once(client.socket, 'open');
    return client;
  }

  send(frame: object): void {
    this.socket.send(this.#encoding === 'json' ? JSON.stringify(frame) : encode(frame));
  }

  /** Takes the answers away up to the first that fits. */
  async until(fits: (answer: Answer) => boolean): Promise<{ before: Answer[]; found: Answer }> {
    for (;;) {
      const at = this.answers.findIndex(fits);
      if (at >= 0) {
        const taken = this.answers.splice(0, at + 1);
        return { before: taken.slice(0, -1), found: taken.at(-1)! };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async hello(hello: object = {}): Promise<Answer> {
    this.send({ hello });
    return (await this.until((answer) => 'welcome' in answer)).found.welcome as Answer;
  }

  async lose(): Promise<void> {
    const closed = once(this.socket, 'close');
    this.socket.terminate();
    await closed;
  }
}

const payloads = async () => (await harness.records()).map(({ payload }) => Buffer.from(payload));
const untilGone = async () => {
  while (ingest.figures().connections > 0) await new Promise((resolve) => setImmediate(resolve));
};

test('CBOR: the payload’s own bytes are stored, or the bytes it holds; answers are CBOR', async () => {
  await start();
  const client = await Client.open('cbor');
  client.send({ id: 1, topic: 'plant/p/x', payload: { v: 1.5, s: 'é' }, sequence: 4, device: 'd' });
  client.send({ id: 'b', topic: 'plant/p/x', payload: Buffer.from([0, 1, 255]), contentType: 'image/png' });
  client.send({ id: 3, topic: 'plant/p/x', payload: Buffer.from([7]) });
  expect((await client.until((answer) => answer.ack === 3)).before).toEqual([
    { ack: 1, offset: 0 },
    { ack: 'b', offset: 1 },
  ]);
  expect(await payloads()).toEqual([
    Buffer.from(encode({ v: 1.5, s: 'é' })),
    Buffer.from([0, 1, 255]),
    Buffer.from([7]),
  ]);
  const records = await harness.records();
  expect(records.map(({ contentType }) => contentType)).toEqual(['application/cbor', 'image/png', '']);
  expect(records[0]).toMatchObject({ device: 'd', sequence: 4 });
  for (const bad of [
    Buffer.from([0xff]),
    Buffer.from([0x80]),
    Buffer.concat([encode({ id: 1 }), Buffer.of(0)]),
  ]) {
    client.socket.send(bad);
    const { found } = await client.until((answer) => 'error' in answer);
    expect(found).toMatchObject({ id: null, error: { code: 'malformed' } });
  }
  client.send({ id: 5, topic: 'a', payload: 1, contentType: 'x' });
  expect((await client.until(() => true)).found).toMatchObject({ id: 5, error: { code: 'malformed' } });
});

test.each(['json', 'cbor'] as const)(
  'a batch has one answer, with the records refused (%s)',
  async (encoding) => {
    await start();
    const client = await Client.open(encoding);
    const record = { topic: 'plant/p/x', payload: { n: 1 }, sequence: 1 };
    client.send({
      id: 7,
      batch: [record, record, { topic: '$x', payload: 1 }, { topic: 'a' }, 5, { topic: 'b', payload: [2] }],
    });
    expect((await client.until(() => true)).found).toEqual({
      ack: 7,
      accepted: 2,
      duplicates: 1,
      firstOffset: 0,
      lastOffset: 1,
      errors: [
        { at: 2, error: { code: 'bad-topic', detail: expect.any(String) } },
        { at: 3, error: { code: 'malformed', detail: expect.any(String) } },
        { at: 4, error: { code: 'malformed', detail: expect.any(String) } },
      ],
    });
    const own = encoding === 'json' ? (value: unknown) => Buffer.from(JSON.stringify(value)) : encode;
    expect(await payloads()).toEqual([Buffer.from(own({ n: 1 })), Buffer.from(own([2]))]);
    client.send({ id: 8, batch: [] });
    expect((await client.until(() => true)).found).toMatchObject({ id: 8, error: { code: 'malformed' } });
  },
);

test('messageId: the same message is stored once', async () => {
  await start();
  const client = await Client.open();
  client.send({ id: 1, topic: 'a', payload: 1, messageId: 'm-1' });
  client.send({ id: 2, topic: 'a', payload: 1, messageId: 'm-1' });
  expect((await client.until((answer) => answer.ack === 2)).found).toEqual({
    ack: 2,
    offset: null,
    duplicate: true,
  });
});

test('in a session one ack speaks for many, after the sync', async () => {
  await start();
  const client = await Client.open();
  const welcome = await client.hello();
  expect(welcome).toEqual({
    session: expect.stringMatching(/^[\w-]{22}$/),
    resumed: false,
    last: 0,
    credit: 1024,
    refused: [],
  });
  harness.disk.hold();
  for (let id = 1; id <= 500; id += 1) client.send({ id, topic: 'a', payload: id });
  client.send({
    id: 501,
    batch: [
      { topic: 'a', payload: 501 },
      { topic: '$no', payload: 0 },
    ],
  });
  await harness.disk.syncAsked();
  client.socket.ping();
  await once(client.socket, 'pong');
  expect(client.answers.filter((answer) => 'acked' in answer)).toEqual([]);
  harness.disk.release();
  const { before, found } = await client.until((answer) => answer.acked === 501);
  expect(found.credit).toBe(1024);
  expect(before.length).toBeLessThan(100);
  expect(before).toContainEqual({ id: 501, at: 1, error: { code: 'bad-topic', detail: expect.any(String) } });
  expect(await payloads()).toHaveLength(501);
});

test('who comes back learns what is durable, what was refused, and sends the rest', async () => {
  await start();
  const first = await Client.open();
  await first.hello({ session: 'pump-7' });
  first.send({ id: 1, topic: 'a', payload: 1 });
  await first.until((answer) => answer.acked === 1);
  harness.disk.hold();
  for (const id of [2, 3]) first.send({ id, topic: 'a', payload: id });
  first.send({ id: 4, topic: 'bad/#', payload: 4 });
  await first.until((answer) => answer.id === 4);
  await first.lose();
  await untilGone();
  const second = await Client.open();
  second.send({ hello: { session: 'pump-7', acked: 1 } });
  second.socket.ping();
  await once(second.socket, 'pong');
  expect(second.answers).toEqual([]); // what is on its way is not known yet
  harness.disk.release();
  const { found } = await second.until((answer) => 'welcome' in answer);
  expect(found.welcome).toEqual({
    session: 'pump-7',
    resumed: true,
    last: 4,
    credit: 1024,
    refused: [{ id: 4, error: { code: 'bad-topic', detail: expect.any(String) } }],
  });
  // Sent again although it is known to be durable: told so, not stored.
  second.send({ id: 3, topic: 'a', payload: 3 });
  await second.until((answer) => answer.acked === 4);
  second.send({ id: 5, topic: 'a', payload: 5 });
  await second.until((answer) => answer.acked === 5);
  expect((await payloads()).map(String)).toEqual(['1', '2', '3', '5']);
});

test('after a restart of the gateway nothing is known: all that is unacknowledged comes again, stored once by its sequence', async () => {
  await start();
  const record = (id: number) => ({ id, topic: 'plant/p/x', payload: { id }, sequence: id });
  const first = await Client.open();
  await first.hello({ session: 's' });
  for (const id of [1, 2, 3]) first.send(record(id));
  await first.until((answer) => answer.acked === 3);
  await first.lose();
  await ingest.close();
  ingest = attachWebSocket(server, {
    path: '/ws',
    admission: harness.admission,
    config: webSocketConfigSchema.parse({}),
    door: new Door(anonymousAccess, new CallerGuard({ host: '127.0.0.1', allowedHosts: [] })),
    logger: harness.lines,
  });
  const second = await Client.open();
  expect(await second.hello({ session: 's', acked: 1 })).toMatchObject({ resumed: false, last: 1 });
  for (const id of [2, 3, 4]) second.send(record(id));
  await second.until((answer) => answer.acked === 4);
  expect((await payloads()).map(String)).toEqual(['{"id":1}', '{"id":2}', '{"id":3}', '{"id":4}']);
});

test('a session has one connection: the newer one takes it over', async () => {
  await start();
  const first = await Client.open();
  await first.hello({ session: 's' });
  const closed = once(first.socket, 'close');
  const second = await Client.open();
  expect(await second.hello({ session: 's' })).toMatchObject({ resumed: true });
  expect((await closed)[0]).toBe(1008);
  second.send({ id: 1, topic: 'a', payload: 1 });
  await second.until((answer) => answer.acked === 1);
});

test('what does not belong into a session is said, and no id is waited for in vain', async () => {
  await start();
  const client = await Client.open();
  await client.hello();
  client.send({ hello: {} });
  expect((await client.until((answer) => 'error' in answer)).found).toMatchObject({
    error: { code: 'protocol' },
  });
  client.send({ id: 'x', topic: 'a', payload: 1 });
  expect((await client.until((answer) => 'error' in answer)).found).toMatchObject({ id: 'x' });
  client.send({ id: 1, topic: 5, payload: 1 });
  expect((await client.until((answer) => 'error' in answer)).found).toMatchObject({ id: 1 });
  await client.until((answer) => answer.acked === 1);
  const late = await Client.open();
  for (const hello of [5, { session: '' }, { session: 'a b' }, { acked: -1 }, { other: 1 }]) {
    late.send({ hello });
    expect((await late.until(() => true)).found).toMatchObject({ id: null, error: { code: 'malformed' } });
  }
});

test('credit is halved by what is shed, and grows again', async () => {
  await start({ maxInFlight: 64 });
  const client = await Client.open();
  expect((await client.hello()).credit).toBe(64);
  client.send({ id: 1, topic: 'a', payload: 1 });
  await client.until((answer) => answer.acked === 1);
  harness.disk.full = true;
  client.send({ id: 2, topic: 'a', payload: 1 });
  const shed = await client.until((answer) => answer.acked === 2);
  expect(shed.before).toContainEqual(expect.objectContaining({ id: 2 }));
  expect(shed.found.credit).toBe(32);
  harness.disk.full = false;
  let credit = 32;
  for (let id = 3; credit < 64; id += 1) {
    client.send({ id, topic: 'a', payload: 1 });
    const { found } = await client.until((answer) => answer.acked === id);
    if (!client.answers.some((answer) => answer.id === id))
      expect(found.credit).toBeGreaterThanOrEqual(credit);
    credit = found.credit!;
  }
});

test('sessions are bounded: those in use stay, the oldest idle one goes', () => {
  const sessions = new Sessions(2);
  const a = sessions.open('', 'a', 0)!.session;
  a.takeOver = () => {};
  sessions.open('', 'b', 0);
  sessions.open('', 'c', 0);
  expect(sessions.size).toBe(2);
  expect(sessions.open('', 'a', 0)!.resumed).toBe(true);
  expect(sessions.open('', 'b', 0)!.resumed).toBe(false);
  expect(sessions.open('other', 'a', 0)!.resumed).toBe(false);
});

test('a session that has forgotten a refusal does not claim to know', () => {
  const session = new Session('s', 0);
  for (let id = 1; id <= 100; id += 1) {
    const sent = session.begin(id, 1)!;
    session.refuse({ id, error: { code: 'malformed', detail: '' } });
    session.settle(sent);
  }
  expect(session.last).toBe(100);
  expect([session.knowsAfter(35), session.knowsAfter(36), session.knowsAfter(101)]).toEqual([
    false,
    true,
    false,
  ]);
  expect(session.refusedAfter(98).map(({ id }) => id)).toEqual([99, 100]);
});

test('ids settle in order, whatever order the records become durable in', () => {
  fc.assert(
    fc.property(fc.shuffledSubarray([1, 2, 3, 4, 5, 6], { minLength: 6 }), (order) => {
      const session = new Session('s', 0);
      const sent = [1, 2, 3, 4, 5, 6].map((id) => session.begin(id * 10, 1)!);
      const done = new Set<number>();
      for (const place of order) {
        session.settle(sent[place - 1]!);
        done.add(place);
        let prefix = 0;
        while (done.has(prefix + 1)) prefix += 1;
        expect(session.last).toBe(prefix * 10);
      }
      expect(session.isIdle).toBe(true);
    }),
  );
});

test('what is written as CBOR is read by others, and any bytes are a frame or a problem', () => {
  const value = fc.jsonValue({ maxDepth: 4 });
  fc.assert(
    fc.property(value, (json) => {
      const bytes = encodeCbor(json);
      const read = JSON.parse(JSON.stringify(decode(bytes))) as unknown;
      expect(read).toEqual(JSON.parse(JSON.stringify(json)));
      expect(JSON.parse(JSON.stringify(decodeCbor(bytes)))).toEqual(read);
    }),
  );
  const member = fc.constantFrom('id', 'topic', 'payload', 'batch', 'hello', 'sequence', 'other');
  const frame = fc.dictionary(member, value, { noNullPrototype: true }).map((object) => encode(object));
  fc.assert(
    fc.property(fc.oneof(frame, fc.uint8Array({ maxLength: 40 })), (bytes) => {
      void readCborFrame(Buffer.from(bytes), 10);
    }),
    { numRuns: 1000 },
  );
});
