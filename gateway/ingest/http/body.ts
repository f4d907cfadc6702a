// Reads request bodies into memory, decompressed, within one bound for all of them together. Refuses what is too long
// as soon as that is known, and then takes the rest off the connection, so that the client sees the answer. Answers that
// clients do not read have a bound of the same size.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants, gunzip, zstdDecompress } from 'node:zlib';
import { gather } from '../gather.ts';
import type { HttpIngestConfig } from './config.ts';
import type { HttpRefusal } from './refusal.ts';

/** Bodies decompressed at once: zlib works in the threads that the log's sync needs too. */
const DECOMPRESSING_MAX = 2;
const ZSTD_WINDOW_LOG_MAX = 23;
const DRAIN_MS = 5_000;

const NO_BYTES = Buffer.alloc(0);

export type BodyOutcome = Buffer | HttpRefusal;
type Done = (outcome: BodyOutcome) => void;
type Decompress = (body: Buffer, limit: number, done: (error: Error | null, plain: Buffer) => void) => void;

const CODINGS: Readonly<Record<string, Decompress>> = {
  gzip: (body, limit, done) => gunzip(body, { maxOutputLength: limit }, done),
  zstd: (body, limit, done) =>
    zstdDecompress(
      body,
      { maxOutputLength: limit, params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX } },
      done,
    ),
};
const CODING_NAMES: Readonly<Record<string, string>> = { 'x-gzip': 'gzip' };

export interface BodyFigures {
  /** Bytes of bodies held now. */
  readonly heldBytes: number;
  /** Bytes of answers that their clients have not taken. */
  readonly unreadBytes: number;
}

export class BodyReader {
  readonly #config: HttpIngestConfig;
  #held = 0;
  #unread = 0;
  #decompressing = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(config: HttpIngestConfig) {
    this.#config = config;
  }

  get figures(): BodyFigures {
    return { heldBytes: this.#held, unreadBytes: this.#unread };
  }

  /**
   * Calls `done` once with the body, plain and at most `limit` bytes long, or with a refusal; not at all when the
   * client goes away. What it holds counts until `response` is done with.
   */
  read(request: IncomingMessage, response: ServerResponse, limit: number, done: Done): void {
    const { headers } = request;
    const named = headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
    const coding = CODING_NAMES[named] ?? named;
    const decompress = CODINGS[coding];
    if (coding !== 'identity' && decompress === undefined) {
      done({ code: 'unsupported-type', detail: 'Content-Encoding must be gzip, zstd or identity' });
      return;
    }
    const length = Number(headers['content-length'] ?? 0);
    if (length > limit) done(tooLong(limit));
    else if (this.#held + length > this.#config.maxHeldBytes) done(FULL);
    else if (decompress === undefined) this.#gather(request, response, limit, done);
    else
      this.#gather(request, response, limit, (outcome) => {
        if (Buffer.isBuffer(outcome)) this.#plain(decompress, outcome, { response, limit, done });
        else done(outcome);
      });
  }

  #gather(request: IncomingMessage, response: ServerResponse, limit: number, done: Done): void {
    let size = 0;
    let chunks: Buffer[] | null = null;
    let first: Buffer = NO_BYTES;
    let over = false;
    request.on('data', (chunk: Buffer) => {
      if (over) return;
      if (size === 0) response.once('close', () => this.release(size));
      size += chunk.length;
      this.#held += chunk.length;
      const refusal = size > limit ? tooLong(limit) : this.#held > this.#config.maxHeldBytes ? FULL : null;
      if (refusal !== null) {
        over = true;
        chunks = null;
        first = NO_BYTES;
        done(refusal);
      } else if (first.length === 0) first = chunk;
      else {
        chunks ??= [first];
        gather(chunks, chunk);
      }
    });
    request.on('end', () => {
      if (!over) done(chunks === null ? first : Buffer.concat(chunks));
    });
  }

  #plain(
    decompress: Decompress,
    body: Buffer,
    { response, limit, done }: { response: ServerResponse; limit: number; done: Done },
  ): void {
    const start = () => {
      this.#decompressing += 1;
      decompress(body, limit, (error, plain) => {
        this.#decompressing -= 1;
        this.#waiting.shift()?.();
        if (response.closed) return;
        if (error === null) {
          this.#held += plain.length;
          response.once('close', () => this.release(plain.length));
          done(plain);
        } else if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') done(tooLong(limit));
        else done({ code: 'malformed', detail: `the body could not be decompressed: ${error.message}` });
      });
    };
    if (this.#decompressing < DECOMPRESSING_MAX) start();
    else this.#waiting.push(start);
  }

  /** Counts bytes of a body that somebody else has read; false, and nothing is counted: there is no room for them. */
  hold(bytes: number): boolean {
    if (this.#held + bytes > this.#config.maxHeldBytes) return false;
    this.#held += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#held -= bytes;
  }

  /**
   * To be called for an answer that has been written: what the client does not take of it counts until it is gone. Where
   * there is no room for it, the connection ends.
   */
  unread(response: ServerResponse): void {
    const bytes = response.writableLength;
    if (bytes <= response.writableHighWaterMark) return;
    if (this.holdUnread(bytes)) response.once('close', () => this.releaseUnread(bytes));
    else response.destroy();
  }

  /** Counts bytes of answers that wait for their clients; false, and nothing is counted: there is no room for them. */
  holdUnread(bytes: number): boolean {
    if (this.#unread + bytes > this.#config.maxHeldBytes) return false;
    this.#unread += bytes;
    return true;
  }

  releaseUnread(bytes: number): void {
    this.#unread -= bytes;
  }

  /** What `read` answers where the body is there already. */
  whole(
    body: Buffer,
    limit: number,
    response: { once(event: 'close', listener: () => void): unknown },
  ): BodyOutcome {
    if (body.length > limit) return tooLong(limit);
    if (!this.hold(body.length)) return FULL;
    response.once('close', () => this.release(body.length));
    return body;
  }

  /**
   * To be called for a request that has been answered before its body was read: takes the rest off the connection
   * before `response` ends. A connection closed with bytes left unread would be reset, and the answer lost with it.
   */
  drain(request: IncomingMessage, response: ServerResponse): void {
    if (request.complete) {
      response.end();
      return;
    }
    let left = this.#config.maxDrainBytes;
    let stopped = false;
    const stop = () => {
      if (stopped) return;
      stopped = true;
      clearTimeout(timer);
      response.end();
      // Node would read on for the next request: there is none to come.
      if (!request.complete) request.socket.destroySoon();
    };
    const timer = setTimeout(stop, DRAIN_MS);
    response.once('close', () => clearTimeout(timer));
    request.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) stop();
    });
    request.once('end', stop);
    request.resume();
  }
}

const tooLong = (limit: number): HttpRefusal => ({
  code: 'too-large',
  detail: `the body is longer than ${limit} bytes, which is the limit here`,
});

const FULL: HttpRefusal = {
  code: 'overloaded',
  detail: 'too many request bodies are being read; try again shortly',
  retryAfterMs: 1_000,
};
