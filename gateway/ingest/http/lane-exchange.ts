// A request and its answer in the lane: what an exchange needs of node's IncomingMessage and ServerResponse, and no more. The
// answer is a text that its connection writes in its turn.
import { type IncomingHttpHeaders, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { LaneHead } from './lane-head.ts';

export class LaneRequest {
  readonly method = 'POST';
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly socket: Socket;
  readonly body: Buffer;
  readonly head: LaneHead;

  constructor(head: LaneHead, socket: Socket, body: Buffer) {
    this.head = head;
    this.url = head.url;
    this.headers = head.headers;
    this.socket = socket;
    this.body = body;
  }
}

type Head = readonly (string | number)[] | Readonly<Record<string, string | number>>;

export class LaneResponse {
  headersSent = false;
  /** Nobody waits for it any more. */
  destroyed = false;
  /** All of it is in `text`. */
  ended = false;
  text = '';
  /** Nothing but ASCII is in it. */
  isAscii = true;
  /** Of the request's body. */
  readonly bodyBytes: number;
  readonly #fixed: () => string;
  readonly #onEnd: () => void;
  #onClose: (() => void)[] = [];

  /** `fixed`: the fields that every answer has, ready to be sent. */
  constructor(bodyBytes: number, fixed: () => string, onEnd: () => void) {
    this.bodyBytes = bodyBytes;
    this.#fixed = fixed;
    this.#onEnd = onEnd;
  }

  writeHead(status: number, head: Head): this {
    this.headersSent = true;
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
    if (isList(head)) for (let at = 0; at < head.length; at += 2) text += `${head[at]}: ${head[at + 1]}\r\n`;
    else for (const [name, value] of Object.entries(head)) text += `${name}: ${value}\r\n`;
    this.text = `${text}${this.#fixed()}\r\n`;
    return this;
  }

  write(text: string): void {
    this.text += text;
    this.isAscii = false;
  }

  /** `text` is ASCII. */
  end(text = ''): void {
    if (this.ended) return;
    this.text += text;
    this.ended = true;
    this.#onEnd();
  }

  once(_event: 'close', listener: () => void): void {
    this.#onClose.push(listener);
  }

  /** It has been handed to the system, or never will be. */
  closed(): void {
    this.destroyed = true;
    const listeners = this.#onClose;
    this.#onClose = [];
    for (const listener of listeners) listener();
  }
}

const isList = (head: Head): head is readonly (string | number)[] => Array.isArray(head);
