// The live tail over real HTTP: what it sends, how many it serves, how it ends.
import { get, type IncomingMessage } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { anomaly, reading, startTestGateway, type TestGateway } from './gateway.ts';

let gateway: TestGateway;

beforeEach(async () => {
  gateway = await startTestGateway({ http: { maxTailClients: 2, maxTailRecordsPerSecond: 3 } });
});

afterEach(() => gateway.close());

interface TailEvent {
  readonly event: string;
  readonly data: Record<string, unknown>;
}

class Tail implements AsyncDisposable {
  readonly response: Response;
  readonly #abort: AbortController;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = '';

  private constructor(response: Response, abort: AbortController) {
    this.response = response;
    this.#abort = abort;
    this.#reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  }

  static async open(): Promise<Tail> {
    const abort = new AbortController();
    return new Tail(await fetch(`${gateway.url}/api/v1/tail`, { signal: abort.signal }), abort);
  }

  /** The next event of this name, passing others by; null when the stream ended. */
  async next(name: string): Promise<TailEvent | null> {
    for (;;) {
      const end = this.#text.indexOf('\n\n');
      if (end < 0) {
        const { value, done } = await this.#reader.read();
        if (done) return null;
        this.#text += value;
        continue;
      }
      const lines = this.#text.slice(0, end).split('\n');
      this.#text = this.#text.slice(end + 2);
      const field = (key: string) => lines.find((line) => line.startsWith(`${key}: `))?.slice(key.length + 2);
      const event = field('event');
      if (event === name) return { event, data: JSON.parse(field('data')!) as Record<string, unknown> };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#reader.cancel().catch(() => {});
  }
}

test('history and figures come at once, figures again each second, derived records as they are stored', async () => {
  await using tail = await Tail.open();
  expect(tail.response.headers.get('content-type')).toContain('text/event-stream');
  expect(tail.response.headers.get('x-content-type-options')).toBe('nosniff');
  expect((await tail.next('history'))!.data).toMatchObject({ stepMs: 1000 });
  expect((await tail.next('figures'))!.data).toMatchObject({ log: { end: 0 }, tail: { clients: 0 } });
  await gateway.log.appendAll([reading('pump-1', { value: 1 })]);
  const offset = await gateway.appendDerived([anomaly('pump-1', 7, 0)]);
  expect((await tail.next('record'))!.data).toMatchObject({
    offset,
    topic: '$tidemark/anomalies/drift',
    device: 'pump-1',
  });
  expect((await tail.next('figures'))!.data).toMatchObject({
    log: { end: 2 },
    derived: { anomalies: 1 },
    tail: { clients: 1 },
  });
});

test('records past the limit of a second are skipped and counted', async () => {
  await using tail = await Tail.open();
  await tail.next('figures');
  await gateway.appendDerived(Array.from({ length: 10 }, (_, i) => anomaly('pump-1', i, i)));
  const seen = [await tail.next('record'), await tail.next('record'), await tail.next('record')];
  expect(seen.map((event) => event!.data.offset)).toEqual([0, 1, 2]);
  expect((await tail.next('figures'))!.data).toMatchObject({
    tail: { skipped: 7 },
    derived: { anomalies: 10 },
  });
});

test('one client more than allowed is told to come back, and may once another has left', async () => {
  await using first = await Tail.open();
  await using second = await Tail.open();
  expect([first.response.status, second.response.status]).toEqual([200, 200]);
  const refused = await fetch(`${gateway.url}/api/v1/tail`);
  expect(refused.status).toBe(503);
  expect(refused.headers.get('retry-after')).toBe('5');
  expect(await refused.json()).toMatchObject({ code: 'overloaded' });
  await second[Symbol.asyncDispose]();
  // The gateway notices on the first tail's next figures.
  for (;;) {
    const figures = await first.next('figures');
    if ((figures!.data.tail as { clients: number }).clients === 1) break;
  }
  await using third = await Tail.open();
  expect(third.response.status).toBe(200);
});

test('closing the server ends open streams', async () => {
  await using tail = await Tail.open();
  await tail.next('figures');
  const ended = tail.next('never');
  await gateway.close();
  expect(await ended.catch(() => null)).toBeNull();
  gateway = await startTestGateway();
});

test('a client that stops reading misses records; it is not waited for and nothing piles up', async () => {
  await gateway.close();
  gateway = await startTestGateway({
    http: { maxTailBufferBytes: 65_536, maxTailRecordsPerSecond: 100_000 },
  });
  const opened = Promise.withResolvers<IncomingMessage>();
  const request = get(`${gateway.url}/api/v1/tail`, { agent: false }, (response) => opened.resolve(response));
  const response = await opened.promise;
  response.pause();
  const big = anomaly('pump-1', 1, 0);
  const padded = { ...big, payload: new Uint8Array(20_000).fill(0x20) };
  // 27 MB as base64: more than the sockets between the two hold.
  for (let i = 0; i < 10; i++) await gateway.appendDerived(Array.from({ length: 100 }, () => padded));
  const status = (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as {
    tail: { clients: number; skipped: number };
  };
  expect(status.tail.clients).toBe(1);
  expect(status.tail.skipped).toBeGreaterThan(0);
  request.destroy();
});
