// Writes of one turn leave as one, in order, whatever their size; backpressure is told and taken back.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { gatherWrites } from '../../../../gateway/ingest/mqtt/gathered-writes.ts';

const server = createServer({ highWaterMark: 64 * 1024 });
let sender: Socket;
let receiver: Socket;

beforeEach(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  receiver = connect((server.address() as AddressInfo).port, '127.0.0.1');
  [sender] = (await once(server, 'connection')) as [Socket];
  gatherWrites(sender);
});
afterEach(async () => {
  sender.destroy();
  receiver.destroy();
  server.close();
  await once(server, 'close');
});

/** What the socket's own stream is given, call by call. */
function handedOver(): string[] {
  const calls: string[] = [];
  const stream = sender as unknown as { _write: (...args: unknown[]) => void };
  const write = stream._write;
  stream._write = function (this: unknown, chunk, ...rest) {
    calls.push(String(chunk));
    write.call(this, chunk, ...rest);
  };
  return calls;
}

async function received(bytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of receiver as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= bytes) break;
  }
  return Buffer.concat(chunks);
}

test('pieces of one turn are one write, those of the next another', async () => {
  const calls = handedOver();
  for (const piece of ['a', 'bc', 'd']) expect(sender.write(Buffer.from(piece))).toBe(true);
  expect(calls).toEqual([]);
  await new Promise((next) => setImmediate(next));
  sender.write('e', 'utf8');
  expect((await received(5)).toString()).toBe('abcde');
  expect(calls).toEqual(['abcd', 'e']);
});

test('much at once keeps its order and says when there is room again', async () => {
  const pieces = Array.from({ length: 400 }, (_, index) =>
    Buffer.alloc(index % 2 === 0 ? 1 : 16_384, index % 251),
  );
  const drained = once(sender, 'drain');
  const answers = pieces.map((piece) => sender.write(piece));
  expect(answers[0]).toBe(true);
  expect(answers.at(-1)).toBe(false);
  const all = Buffer.concat(pieces);
  expect((await received(all.length)).equals(all)).toBe(true);
  await drained;
});

test('drain comes also when what waited left before the turn ended', async () => {
  const drained = once(sender, 'drain');
  Object.defineProperty(sender, 'writableHighWaterMark', { value: 4, configurable: true });
  expect(sender.write(Buffer.from('12345'))).toBe(false);
  expect(sender.writableNeedDrain).toBe(false);
  await drained;
});

test('a socket that is gone takes nothing and raises nothing', async () => {
  sender.write(Buffer.from('lost'));
  sender.destroy();
  await once(sender, 'close');
  sender.write(Buffer.from('late'));
  await new Promise((next) => setImmediate(next));
});
