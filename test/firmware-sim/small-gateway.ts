// A small real server of docs/protocols.md, written apart from the gateway: what the simulator's clients are
// tested against. It stores in memory, can be told to misbehave, and can be killed and started on the same ports.
import { once } from 'node:events';
import {
  createServer as createHttp,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { type AddressInfo, createServer as createTcp, type Socket, type Server as TcpServer } from 'node:net';
import { Aedes } from 'aedes';
import { WebSocketServer } from 'ws';

export interface Stored {
  readonly offset: number;
  readonly device: string;
  readonly sequence: number;
  readonly topic: string;
  readonly payload: string;
  readonly via: 'mqtt' | 'http' | 'websocket';
}

/** What to do with a record: store and ack, store and give no ack, or answer with an error. */
export type Verdict = 'store' | 'store-silently' | 'busy' | 'refuse';

export class SmallGateway {
  readonly records: Stored[] = [];
  readonly #known = new Map<string, number>();
  verdict: (record: Omit<Stored, 'offset'>) => Verdict = () => 'store';
  #mqttPort = 0;
  #httpPort = 0;
  #tcp: TcpServer | null = null;
  #http: HttpServer | null = null;
  #aedes: Aedes | null = null;
  readonly #sockets = new Set<Socket>();
  #waiting: { count: number; resolve: () => void }[] = [];

  get endpoints() {
    const host = '127.0.0.1';
    return {
      mqttUrl: `mqtt://${host}:${this.#mqttPort}`,
      httpUrl: `http://${host}:${this.#httpPort}`,
      wsUrl: `ws://${host}:${this.#httpPort}/ws`,
    };
  }

  async start(): Promise<void> {
    this.#aedes = await Aedes.createBroker();
    this.#aedes.authorizePublish = (_client, packet, callback) => {
      const verdict = this.#take('mqtt', packet.topic, String(packet.payload)).verdict;
      if (verdict === 'store') callback(null);
      else if (verdict !== 'store-silently') callback(new Error(verdict)); // 3.1.1: closes the connection
    };
    this.#tcp = createTcp(this.#aedes.handle);
    this.#http = createHttp((request, response) => void this.#onRequest(request, response));
    new WebSocketServer({ server: this.#http, path: '/ws' }).on('connection', (socket) => {
      socket.on('message', (data) => socket.send(this.#onFrame(String(data)) ?? '{"note":"nothing to say"}'));
      socket.on('error', () => {});
    });
    for (const server of [this.#tcp, this.#http]) {
      server.on('connection', (socket: Socket) => {
        this.#sockets.add(socket);
        socket.on('close', () => this.#sockets.delete(socket));
      });
    }
    this.#tcp.listen(this.#mqttPort, '127.0.0.1');
    this.#http.listen(this.#httpPort, '127.0.0.1');
    await Promise.all([once(this.#tcp, 'listening'), once(this.#http, 'listening')]);
    this.#mqttPort = (this.#tcp.address() as AddressInfo).port;
    this.#httpPort = (this.#http.address() as AddressInfo).port;
  }

  /** As kill -9 looks from outside: every connection ends at once; what is stored stays. */
  async kill(): Promise<void> {
    const servers = [this.#tcp, this.#http].filter((server) => server !== null);
    const closed = servers.map((server) => once(server, 'close'));
    for (const server of servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
    await new Promise<void>((resolve) => (this.#aedes ? this.#aedes.close(() => resolve()) : resolve()));
  }

  /** Resolves when at least `count` records are stored. */
  stored(count: number): Promise<void> {
    if (this.records.length >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }

  #take(
    via: Stored['via'],
    topic: string,
    payload: string,
  ): { verdict: Verdict; offset: number; duplicate: boolean } {
    const { seq } = JSON.parse(payload) as { seq: number };
    const device = topic.split('/')[1]!;
    const record = { device, sequence: seq, topic, payload, via };
    const verdict = this.verdict(record);
    const known = this.#known.get(`${device} ${seq}`);
    if (verdict === 'busy' || verdict === 'refuse') return { verdict, offset: -1, duplicate: false };
    if (known !== undefined) return { verdict, offset: known, duplicate: true };
    const offset = this.records.length;
    this.#known.set(`${device} ${seq}`, offset);
    this.records.push({ ...record, offset });
    this.#waiting = this.#waiting.filter(({ count, resolve }) => {
      if (this.records.length >= count) resolve();
      return this.records.length < count;
    });
    return { verdict, offset, duplicate: false };
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, 'http://gateway');
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const answer = (status: number, value: object, headers = {}) =>
      response
        .writeHead(status, { 'content-type': 'application/json', ...headers })
        .end(JSON.stringify(value));
    if (url.pathname === '/api/v1/records') {
      const from = Number(url.searchParams.get('from'));
      // A page smaller than asked for, so that paging is needed.
      const records = this.records.slice(from, from + 7);
      answer(200, {
        records: records.map((record) => ({
          ...record,
          eventMs: 0,
          receivedMs: 0,
          source: { mqtt: 1, websocket: 2, http: 3 }[record.via],
          headers: [],
          payload: Buffer.from(record.payload).toString('base64'),
        })),
        next: from + records.length,
      });
      return;
    }
    const ingest = '/api/v1/ingest/';
    if (request.method !== 'POST' || !url.pathname.startsWith(ingest)) {
      answer(404, { code: 'not-found' });
      return;
    }
    const topic = decodeURIComponent(url.pathname.slice(ingest.length));
    const { verdict, offset, duplicate } = this.#take('http', topic, body);
    if (verdict === 'store') answer(202, duplicate ? { offset: null, duplicate } : { offset });
    else if (verdict === 'busy') answer(429, { code: 'overloaded' }, { 'retry-after': '0.02' });
    else if (verdict === 'refuse') answer(413, { code: 'too-large', detail: 'no' });
  }

  #onFrame(text: string): string | null {
    const { id, topic } = JSON.parse(text) as { id: number; topic: string };
    const payload = text.slice(text.indexOf('"payload":') + '"payload":'.length, -1);
    const { verdict, offset, duplicate } = this.#take('websocket', topic, payload);
    if (verdict === 'store')
      return JSON.stringify({ ack: id, offset: duplicate ? null : offset, ...(duplicate && { duplicate }) });
    if (verdict === 'busy')
      return JSON.stringify({ id, error: { code: 'overloaded', detail: '', retryAfterMs: 20 } });
    if (verdict === 'refuse') return JSON.stringify({ id, error: { code: 'too-large', detail: 'no' } });
    return null;
  }
}
