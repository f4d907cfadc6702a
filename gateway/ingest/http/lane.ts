// Serves plain POSTs to ingest paths on the connections of an HTTP server by itself, since node:http's streams and events are
// most of what such a request costs. A connection that sends anything else is given to node:http at the end of the last
// request served here, with the bytes as they came, and stays there. Answers go out in the order of the requests.
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { gather } from '../gather.ts';
import type { BodyReader } from './body.ts';
import { LaneRequest, LaneResponse } from './lane-exchange.ts';
import { type LaneHead, readLaneHead } from './lane-head.ts';

export interface LaneOptions {
  readonly maxHeaderBytes: number;
  readonly keepAliveTimeoutMs: number;
}

interface LaneParts extends LaneOptions {
  readonly bodies: BodyReader;
  serve(request: LaneRequest, response: LaneResponse): void;
}

/** Longer bodies are node:http's. */
const BODY_BYTES_MAX = 256 * 1024;
/** Requests of a connection that wait for their answers; what it sends beyond that is not read until some have theirs. */
const UNANSWERED_MAX = 128;
const SWEEP_MS = 1_000;
/** Bodies of a connection whose answers are not out: a batch's answer can be longer than the batch. */
const UNANSWERED_BYTES_MAX = 64 * 1024;
/** Who takes longer for a request than so many sweeps is node:http's, which has the clocks for that. */
const SLOW_SWEEPS = 3;
/** Who has not taken answers for so many sweeps is gone. */
const UNREAD_SWEEPS = 300;

type Listener = (socket: Socket) => void;

export class Lane {
  readonly parts: LaneParts;
  readonly connections = new Set<LaneConnection>();
  readonly #others: (socket: Socket) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #dirty: LaneConnection[] = [];
  #closed = false;
  #fixed = '';
  #fixedUntilMs = 0;
  sweeps = 0;

  /** Takes the place of `server`'s own listener, which gets what is not for here. The server must be new. */
  constructor(server: Server, parts: LaneParts) {
    this.parts = parts;
    const listeners = server.listeners('connection') as Listener[];
    server.removeAllListeners('connection');
    this.#others = (socket) => {
      for (const listener of listeners) listener.call(server, socket);
    };
    server.on('connection', (socket: Socket) => {
      if (socket.destroyed) return;
      if (this.#closed) this.#others(socket);
      else this.connections.add(new LaneConnection(socket, this));
    });
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /** Ends those that still wait for answers; all others, and those to come, are the server's. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const connection of [...this.connections]) connection.leaveOrEnd();
  }

  handOver(connection: LaneConnection, rest: Buffer | null, ended: boolean): void {
    const { socket } = connection;
    this.connections.delete(connection);
    if (socket.destroyed) return;
    this.#others(socket);
    if (rest !== null && rest.length > 0) socket.emit('data', rest);
    if (ended) socket.emit('end');
    socket.resume();
  }

  /** What becomes ready in one go is written in one go. */
  ready(connection: LaneConnection): void {
    if (this.#dirty.push(connection) === 1) queueMicrotask(this.#flush);
  }

  /** Date, and that the connection stays, as node:http says it. */
  readonly fixedFields = (): string => {
    const nowMs = Date.now();
    if (nowMs >= this.#fixedUntilMs || nowMs < this.#fixedUntilMs - 1_000) {
      this.#fixedUntilMs = (Math.floor(nowMs / 1_000) + 1) * 1_000;
      const seconds = Math.floor(this.parts.keepAliveTimeoutMs / 1_000);
      const keep = seconds > 0 ? `Keep-Alive: timeout=${seconds}\r\n` : '';
      this.#fixed = `Date: ${new Date(nowMs).toUTCString()}\r\nConnection: keep-alive\r\n${keep}`;
    }
    return this.#fixed;
  };

  readonly #flush = (): void => {
    for (const connection of this.#dirty.splice(0)) connection.flush();
  };

  #sweep(): void {
    this.sweeps += 1;
    const { keepAliveTimeoutMs } = this.parts;
    const idleSweeps =
      keepAliveTimeoutMs === 0 ? Number.POSITIVE_INFINITY : Math.ceil(keepAliveTimeoutMs / SWEEP_MS) + 1;
    for (const connection of this.connections) connection.sweep(this.sweeps, SLOW_SWEEPS, idleSweeps);
  }
}

class LaneConnection {
  readonly socket: Socket;
  readonly #lane: Lane;
  readonly #unanswered: LaneResponse[] = [];
  #head: LaneHead | null = null;
  /** Bytes of a request that is not all there, or that has to wait. */
  #kept: Buffer[] = [];
  #keptBytes = 0;
  /** So many of them are needed before it is worth looking again. */
  #neededBytes = 0;
  #heldBytes = 0;
  #unansweredBytes = 0;
  /** Of answers: written, counted, and not taken by the client. */
  #unreadBytes = 0;
  #served = false;
  #dirty = false;
  /** It goes to node:http once all is answered. */
  #leaving = false;
  #waiting = false;
  #ended = false;
  #isGone = false;
  /** The sweep in which it last said something while nothing of it was kept, or had answers. */
  #seen: number;

  constructor(socket: Socket, lane: Lane) {
    this.socket = socket;
    this.#lane = lane;
    this.#seen = lane.sweeps;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  /** Writes the answers whose turn has come. */
  flush(): void {
    this.#dirty = false;
    let count = 0;
    let text = '';
    let isAscii = true;
    for (const answer of this.#unanswered) {
      if (!answer.ended) break;
      text += answer.text;
      isAscii &&= answer.isAscii;
      count += 1;
    }
    if (count === 0 || this.socket.destroyed) return;
    const done = this.#unanswered.splice(0, count);
    const roomy = this.socket.write(text, isAscii ? 'latin1' : 'utf8');
    for (const answer of done) {
      this.#unansweredBytes -= answer.bodyBytes;
      answer.closed();
    }
    this.#seen = this.#lane.sweeps;
    if (!roomy) {
      this.#holdUnread();
      this.#wait();
    } else if (this.#waiting || this.#ended || this.#leaving) this.#goOn();
  }

  /** What clients do not read is bounded for all of them together; who is beyond it is given up. */
  #holdUnread(): void {
    const bytes = this.socket.writableLength - this.#unreadBytes;
    if (this.#lane.parts.bodies.holdUnread(bytes)) this.#unreadBytes += bytes;
    else this.socket.destroy();
  }

  #releaseUnread(): void {
    this.#lane.parts.bodies.releaseUnread(this.#unreadBytes);
    this.#unreadBytes = 0;
  }

  sweep(sweeps: number, slow: number, idle: number): void {
    const quiet = sweeps - this.#seen;
    if (this.socket.writableNeedDrain) {
      if (quiet > UNREAD_SWEEPS) this.socket.destroy();
      return;
    }
    if (this.#unanswered.length > 0 || this.#waiting) return;
    if (quiet >= slow && (!this.#served || this.#keptBytes > 0)) this.#leave();
    else if (quiet > idle) this.socket.destroy();
  }

  /** The gateway ends: nobody is answered here any more. */
  leaveOrEnd(): void {
    if (this.#unanswered.length > 0) this.socket.destroy();
    else this.#leave();
  }

  readonly #onData = (chunk: Buffer): void => {
    // Not for each piece of a request: who sends one byte now and then must not keep it open for ever.
    if (this.#keptBytes === 0) this.#seen = this.#lane.sweeps;
    if (this.#keptBytes > 0 || this.#waiting) this.#keep(chunk);
    if (this.#waiting || this.#leaving) return;
    if (this.#keptBytes === 0) this.#take(chunk);
    else if (this.#keptBytes >= this.#neededBytes) this.#takeKept();
  };

  #takeKept(): void {
    const [first, ...others] = this.#kept;
    const bytes = others.length === 0 ? first! : Buffer.concat(this.#kept);
    this.#drop();
    this.#take(bytes);
  }

  #take(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#unanswered.length >= UNANSWERED_MAX || this.#unansweredBytes >= UNANSWERED_BYTES_MAX) {
        this.#keep(bytes.subarray(at));
        this.#wait();
        return;
      }
      const head = readLaneHead(bytes, at, this.#lane.parts.maxHeaderBytes, this.#head);
      if (head === 'other' || (head !== 'more' && head.contentLength > BODY_BYTES_MAX)) {
        this.#keep(bytes.subarray(at));
        this.#leave();
        return;
      }
      const bodyAt = head === 'more' ? 0 : at + head.bytes.length;
      const end = head === 'more' ? bytes.length + 1 : bodyAt + head.contentLength;
      if (end > bytes.length) {
        this.#neededBytes = end - at;
        this.#keep(bytes.subarray(at));
        return;
      }
      if (head !== 'more') this.#serve(head, bytes.subarray(bodyAt, end));
      at = end;
      if (this.socket.destroyed) return;
    }
  }

  #serve(head: LaneHead, body: Buffer): void {
    this.#head = head;
    this.#served = true;
    const { parts, fixedFields } = this.#lane;
    this.#unansweredBytes += body.length;
    const response = new LaneResponse(body.length, fixedFields, () => {
      if (this.#dirty || response !== this.#unanswered[0]) return;
      this.#dirty = true;
      this.#lane.ready(this);
    });
    this.#unanswered.push(response);
    parts.serve(new LaneRequest(head, this.socket, body), response);
  }

  #keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    gather(this.#kept, bytes);
    this.#keptBytes += bytes.length;
    const { bodies } = this.#lane.parts;
    if (bodies.hold(bytes.length)) this.#heldBytes += bytes.length;
    // Too many bodies at once: node:http's way refuses them.
    else this.#leave();
  }

  #drop(): void {
    this.#kept = [];
    this.#keptBytes = 0;
    this.#neededBytes = 0;
    this.#lane.parts.bodies.release(this.#heldBytes);
    this.#heldBytes = 0;
  }

  #wait(): void {
    this.#waiting = true;
    this.socket.pause();
  }

  readonly #onDrain = (): void => {
    this.#releaseUnread();
    if (this.#waiting) this.#goOn();
  };

  /** Answers have gone out: on with what had to wait. */
  #goOn(): void {
    if (this.socket.writableNeedDrain) return;
    if (this.#leaving) {
      if (this.#unanswered.length === 0) this.#leave();
      return;
    }
    if (this.#waiting) {
      this.#waiting = false;
      if (this.#keptBytes > 0) this.#takeKept();
      if (this.#waiting || this.#leaving || this.socket.destroyed) return;
      this.socket.resume();
    }
    if (this.#ended && this.#unanswered.length === 0) this.#finish();
  }

  /** All is answered, and no more comes. What was begun is node:http's to refuse. */
  #finish(): void {
    if (this.#keptBytes > 0) this.#leave();
    else this.socket.end();
  }

  /** To node:http, as soon as all is answered. */
  #leave(): void {
    const { socket } = this;
    if (this.#isGone) return;
    this.#leaving = true;
    if (this.#unanswered.length > 0 || socket.writableNeedDrain) {
      this.#wait();
      return;
    }
    const rest = this.#keptBytes === 0 ? null : Buffer.concat(this.#kept);
    this.#drop();
    this.#off();
    this.#isGone = true;
    this.#lane.handOver(this, rest, this.#ended);
  }

  #off(): void {
    const { socket } = this;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('drain', this.#onDrain);
    socket.off('error', this.#onError);
    socket.off('close', this.#onClose);
  }

  /** The client sends no more; what it has sent is answered. */
  readonly #onEnd = (): void => {
    this.#ended = true;
    if (this.#unanswered.length === 0) this.#finish();
  };

  readonly #onError = (): void => {
    this.socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#lane.connections.delete(this);
    this.#drop();
    this.#releaseUnread();
    for (const answer of this.#unanswered.splice(0)) answer.closed();
  };
}
