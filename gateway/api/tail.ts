// The live tail: server-sent events to a bounded number of clients. A client that reads slowly misses updates
// (counted); it never makes the gateway hold more than its buffer limit, and one that stops reading is let go.
import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import type { Principal } from '../access/types.ts';
import type { DerivedRecord } from './derived.ts';

export interface TailLimits {
  readonly maxTailClients: number;
  readonly maxTailBufferBytes: number;
  readonly maxTailRecordsPerSecond: number;
}

export interface TailFigures {
  readonly clients: number;
  /** Derived records not sent to some client because of its buffer or the rate limit. */
  readonly skipped: number;
}

/** Ticks (seconds) a client may leave its buffer full before its stream is closed. */
const PATIENCE_TICKS = 30;

interface Client {
  readonly stream: ServerResponse;
  readonly principal: Principal | null;
  stuckTicks: number;
}

export class Tail {
  readonly #limits: TailLimits;
  readonly #clients = new Set<Client>();
  #budget: number;
  #skipped = 0;

  constructor(limits: TailLimits) {
    this.#limits = limits;
    this.#budget = limits.maxTailRecordsPerSecond;
  }

  get figures(): TailFigures {
    return { clients: this.#clients.size, skipped: this.#skipped };
  }

  get full(): boolean {
    return this.#clients.size >= this.#limits.maxTailClients;
  }

  /** Takes over the reply's socket; `opening` is sent at once. Ends when `principal` may no longer read. Ask `full` first. */
  add(reply: FastifyReply, principal: Principal | null, opening: string): void {
    reply.hijack();
    const stream = reply.raw;
    stream.writeHead(200, {
      // Set by hooks (security headers) before the reply was taken over.
      ...(reply.getHeaders() as Record<string, string>),
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    const client: Client = { stream, principal, stuckTicks: 0 };
    this.#clients.add(client);
    stream.on('close', () => this.#clients.delete(client));
    stream.on('error', () => this.#clients.delete(client));
    stream.write(`retry: 2000\n\n${opening}`);
  }

  /** Sends one derived record to everyone, within this second's budget. */
  record(record: DerivedRecord): void {
    if (this.#clients.size === 0) return;
    if (this.#budget <= 0) {
      this.#skipped += this.#clients.size;
      return;
    }
    this.#budget -= 1;
    const text = `event: record\nid: ${record.offset}\ndata: ${record.json}\n\n`;
    for (const client of this.#clients) {
      if (isOver(client)) client.stream.end();
      else if (this.#isFull(client)) this.#skipped += 1;
      else client.stream.write(text);
    }
  }

  /** Once a second: renews the budget, lets go of dead clients and of those who may no longer read, sends the figures. */
  tick(figures: string): void {
    this.#budget = this.#limits.maxTailRecordsPerSecond;
    for (const client of this.#clients) {
      if (isOver(client)) client.stream.end();
      else if (!this.#isFull(client)) {
        client.stuckTicks = 0;
        client.stream.write(figures);
      } else {
        client.stuckTicks += 1;
        if (client.stuckTicks > PATIENCE_TICKS) client.stream.destroy();
      }
    }
  }

  #isFull(client: Client): boolean {
    return client.stream.writableLength >= this.#limits.maxTailBufferBytes;
  }

  close(): void {
    for (const { stream } of this.#clients) stream.end();
    this.#clients.clear();
  }
}

function isOver({ principal }: Client): boolean {
  if (principal === null) return false;
  return !principal.may('read') || (principal.expiresMs !== null && principal.expiresMs <= Date.now());
}

/** One server-sent event; `json` must be on one line. */
export const tailEvent = (name: string, json: string) => `event: ${name}\ndata: ${json}\n\n`;
