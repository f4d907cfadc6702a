// Fuzz target of the HTTP lane: whatever a client sends, however it is cut, a server with the lane answers byte for byte as
// node:http alone does, and has the same records in the end.
import { deepStrictEqual } from 'node:assert';
import { connect } from 'node:net';
import { post, REQUESTS } from '../gateway/ingest/http/lane-requests.ts';
import { type ServedIngest, serveIngest } from '../gateway/ingest/http/served.ts';
import { Random } from './mutate.ts';
import { type Target, utf8 } from './target.ts';

const SEQUENCES = 400;
/** Answers that stay the same for so long are all there are. */
const QUIET_MS = 12;
const PATIENCE_MS = 5_000;

/** One client's connection; `seen` is what it has been sent, without the time of day. */
class Client {
  readonly #socket;
  #text = '';
  #isOver = false;

  constructor(served: ServedIngest) {
    this.#socket = connect({ port: Number(new URL(served.base).port), host: '127.0.0.1', noDelay: true });
    this.#socket.setEncoding('latin1').on('data', (chunk) => {
      this.#text += chunk;
    });
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.#isOver = true;
    });
  }

  get seen(): string {
    const text = this.#text
      .replaceAll(/Date: [^\r]+/g, 'Date: -')
      .replaceAll(/\{"offset":\d+(,"duplicate":true)?/g, '{"offset":-')
      .replaceAll(/"(first|last)Offset":\d+/g, '"$1Offset":-')
      .replaceAll(/content-length: \d+/g, 'content-length: -');
    return this.#isOver ? `${text}(closed)` : text;
  }

  /** Of single records that were stored for it. */
  get offsets(): number[] {
    return [...this.#text.matchAll(/\{"offset":(\d+)\}/g)].map((match) => Number(match[1]));
  }

  async send(bytes: Buffer, cuts: Random): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#isOver; ) {
      const length = cuts.below(4) === 0 ? 1 + cuts.below(16) : 1 + cuts.below(bytes.length);
      this.#socket.write(bytes.subarray(at, at + length));
      at += length;
      if (cuts.below(2) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}

const LAST = /(?:HTTP\/1\.1 4\d\d [^\r]+\r\nConnection: close\r\n\r\n)?\(closed\)$/;

/**
 * Whether a client of the lane sees what one of node:http sees. Where node:http cannot read a request, it closes at once
 * and keeps the answers that were not ready to itself, which depends on how the bytes came; the lane gives them first.
 */
function isSame(byLane: string, byNode: string): boolean {
  if (byLane === byNode) return true;
  const [lane, node] = [LAST.exec(byLane), LAST.exec(byNode)];
  if (lane === null || node === null) return false;
  const [laneBefore, nodeBefore] = [byLane.slice(0, lane.index), byNode.slice(0, node.index)];
  return laneBefore.startsWith(nodeBefore) || nodeBefore.startsWith(laneBefore);
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export async function laneTarget(): Promise<Target> {
  const options = { harness: { ingest: { maxPayloadBytes: 1_024 } } };
  const lane = await serveIngest(options);
  const node = await serveIngest({ ...options, lane: false });
  const acked = new Set<number>();
  const random = new Random(1);
  const short = REQUESTS.map(([, request]) => request).filter(({ length }) => length < 5_000);
  const plain = () => post(`{"v":${random.below(9)}}`, '', `plant/${random.below(3)}/v`);
  const good = Array.from({ length: SEQUENCES }, () => {
    const parts = Array.from({ length: 1 + random.below(5) }, () =>
      random.below(2) ? plain() : random.pick(short),
    );
    return Buffer.from(parts.join(''), 'latin1');
  });
  return {
    name: 'HTTP lane',
    good: [utf8(plain()), ...good],
    share: 8,
    check: async (bytes) => {
      const clients = [new Client(lane), new Client(node)] as const;
      const seed = bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) | 0, bytes.length);
      await Promise.all(clients.map((client) => client.send(bytes, new Random(seed))));
      const untilMs = performance.now() + PATIENCE_MS;
      for (;;) {
        const before = clients.map(({ seen }) => seen);
        await pause(QUIET_MS);
        const [byLane, byNode] = clients.map(({ seen }) => seen) as [string, string];
        if (isSame(byLane, byNode) && byLane === before[0] && byNode === before[1]) break;
        if (performance.now() > untilMs) deepStrictEqual(byLane, byNode, 'the lane answers otherwise');
      }
      for (const client of clients) client.close();
      for (const offset of clients[0].offsets) {
        if (acked.has(offset)) throw new Error(`two records of the lane have offset ${offset}`);
        acked.add(offset);
      }
    },
    close: async () => {
      const reader = await lane.harness.log.openReader();
      const end = await reader.end();
      await reader.close();
      await lane.close();
      await node.close();
      for (const offset of acked) if (offset >= end) throw new Error(`offset ${offset} is not in the log`);
    },
  };
}
