// What a WebSocket session is worth after a restart: after a proper end, after kill -9, and when log or file are not what
// they were. Never is an id said to be settled whose record is not in the log.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { anonymousAccess } from '../../../../gateway/access/anonymous.ts';
import { CallerGuard } from '../../../../gateway/ingest/caller.ts';
import { Door } from '../../../../gateway/ingest/door.ts';
import { attachWebSocket } from '../../../../gateway/ingest/websocket/attach.ts';
import { webSocketConfigSchema } from '../../../../gateway/ingest/websocket/config.ts';
import { startGateway } from '../../../support/processes.ts';
import { Harness } from '../../admission/harness.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

interface Welcome {
  readonly resumed: boolean;
  readonly last: number;
  readonly refused: readonly { readonly id: number; readonly error: { readonly code: string } }[];
}

class Client {
  readonly socket: WebSocket;
  acked = 0;
  welcome: Welcome | null = null;
  #wake: () => void = () => {};

  private constructor(url: string) {
    this.socket = new WebSocket(url);
    this.socket.on('error', () => {});
    this.socket.on('message', (data) => {
      const answer = JSON.parse(String(data)) as { acked?: number; welcome?: Welcome };
      if (answer.acked !== undefined) this.acked = answer.acked;
      if (answer.welcome !== undefined) this.welcome = answer.welcome;
      this.#wake();
    });
  }

  static async hello(url: string, session: string, acked = 0): Promise<{ client: Client; welcome: Welcome }> {
    const client = new Client(url);
    await once(client.socket, 'open');
    client.socket.send(JSON.stringify({ hello: { session, acked } }));
    await client.until(() => client.welcome !== null);
    return { client, welcome: client.welcome! };
  }

  send(id: number, topic = 'plant/p/x'): void {
    this.socket.send(JSON.stringify({ id, topic, payload: { id }, sequence: id }));
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async lose(): Promise<void> {
    const closed = once(this.socket, 'close');
    this.socket.terminate();
    await closed;
  }
}

async function serve(harness: Harness, logEnd: number) {
  const server: Server = createServer();
  const ingest = attachWebSocket(server, {
    path: '/ws',
    admission: harness.admission,
    config: webSocketConfigSchema.parse({ maxSessions: 3 }),
    door: new Door(anonymousAccess, new CallerGuard({ host: '127.0.0.1', allowedHosts: [] })),
    logger: harness.lines,
    kept: { chores: harness.chores, dataDir: harness.dataDir, logEnd },
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`,
    close: async () => {
      await ingest.close();
      server.close();
    },
  };
}

function change(dataDir: string, sql: string): void {
  const db = new Database(join(dataDir, 'websocket.db'));
  db.exec(sql);
  db.close();
}

test('after a proper end the client learns what is durable and what was refused; a doubtful row is left out', async () => {
  const harness = await Harness.open();
  cleanups.push(() => harness.remove());
  let served = await serve(harness, 0);
  cleanups.push(() => served.close());
  for (const session of ['a', 'b', 'c']) {
    const { client } = await Client.hello(served.url, session);
    client.send(1);
    client.send(2, '$no');
    client.send(3);
    await client.until(() => client.acked === 3);
    await client.lose();
  }
  await served.close();
  // Bits of one row have flipped.
  change(harness.dataDir, "UPDATE sessions SET last = 1000 WHERE name = 'b'");
  served = await serve(harness, 6);
  const a = await Client.hello(served.url, 'a', 1);
  expect(a.welcome).toMatchObject({ resumed: true, last: 3 });
  expect(a.welcome.refused).toMatchObject([{ id: 2, error: { code: 'bad-topic' } }]);
  expect((await Client.hello(served.url, 'b', 1)).welcome).toMatchObject({ resumed: false, last: 1 });
  // An ack that the client has seen counts, though a crash has lost it here.
  expect((await Client.hello(served.url, 'c', 5)).welcome).toMatchObject({
    resumed: true,
    last: 5,
    refused: [],
  });
  a.client.send(4);
  await a.client.until(() => a.client.acked === 4);
  await served.close();
  // A log that was set back, as by a restore: what these sessions tell of is not in it.
  served = await serve(harness, 2);
  expect((await Client.hello(served.url, 'a', 1)).welcome).toMatchObject({ resumed: false, last: 1 });
});

test('sessions that were forgotten for want of room are not back after a restart; a damaged file begins anew', async () => {
  const harness = await Harness.open();
  cleanups.push(() => harness.remove());
  let served = await serve(harness, 0);
  cleanups.push(() => served.close());
  for (const [at, session] of ['a', 'b', 'c', 'd'].entries()) {
    const { client } = await Client.hello(served.url, session);
    client.send(at + 1);
    await client.until(() => client.acked === at + 1);
    await client.lose();
  }
  await served.close();
  const db = new Database(join(harness.dataDir, 'websocket.db'), { readonly: true });
  expect(db.prepare('SELECT name FROM sessions ORDER BY name').pluck().all()).toEqual(['b', 'c', 'd']);
  db.close();
  change(harness.dataDir, 'DROP TABLE sessions; CREATE TABLE sessions (x)');
  served = await serve(harness, 4);
  expect((await Client.hello(served.url, 'd', 2)).welcome).toMatchObject({ resumed: false, last: 2 });
});

test('kill -9: the session is resumed, all it is told is durable stands in the log, and nothing is lost or twice', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-websocket-kill-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const dataDir = join(folder, 'data');
  const yaml = 'windows: []\nmodels: []\n';
  let gateway = await startGateway({ dataDir, yaml });
  cleanups.push(() => gateway.kill('SIGKILL'));
  const url = () => `${gateway.url.replace('http', 'ws')}/ws`;
  const stored = async (): Promise<number[]> => {
    const answer = await fetch(`${gateway.url}/api/v1/records?topic=plant/p/x&limit=1000`);
    const { records } = (await answer.json()) as { records: { sequence: number }[] };
    return records.map(({ sequence }) => sequence);
  };
  const { client } = await Client.hello(url(), 'pump');
  client.send(1);
  client.send(2, '$no');
  for (let id = 3; id <= 200; id += 1) client.send(id);
  await client.until(() => client.acked >= 100);
  const savedLast = () => {
    const db = new Database(join(dataDir, 'websocket.db'), { readonly: true });
    const last = db.prepare('SELECT max(last) FROM sessions').pluck().get() as number | null;
    db.close();
    return last ?? 0;
  };
  while (savedLast() < 100) await new Promise((resolve) => setTimeout(resolve, 10));
  for (let id = 201; id <= 300; id += 1) client.send(id);
  const closed = once(client.socket, 'close');
  await gateway.kill('SIGKILL');
  await closed;
  gateway = await startGateway({ dataDir, yaml });
  // A client that has lost its own memory of the last acks.
  const again = await Client.hello(url(), 'pump', 1);
  expect(again.welcome.resumed).toBe(true);
  expect(again.welcome.last).toBeGreaterThanOrEqual(100);
  expect(again.welcome.refused).toMatchObject([{ id: 2 }]);
  const inLog = new Set(await stored());
  for (let id = 3; id <= again.welcome.last; id += 1) expect(inLog, `id ${id}`).toContain(id);
  for (let id = again.welcome.last + 1; id <= 300; id += 1) again.client.send(id);
  await again.client.until(() => again.client.acked === 300);
  const all = await stored();
  expect(all.toSorted((a, b) => a - b)).toEqual([1, ...Array.from({ length: 298 }, (_, at) => at + 3)]);
  await again.client.lose();
});
