// One WebSocket connection: reads frames, answers each by its id after durability, stops reading while too much is
// in flight or too many answers have not been taken.
import type { Socket } from 'node:net';
import type { RawData, WebSocket } from 'ws';
import type { Admission } from '../../admission/admission.ts';
import type { WebSocketConfig } from './config.ts';
import { answerOf, problemAnswer, readFrame } from './frame.ts';

export interface ConnectionOptions {
  readonly admission: Admission;
  readonly config: WebSocketConfig;
  onSettled(): void;
}

export class WebSocketConnection {
  readonly #webSocket: WebSocket;
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  #inFlight = 0;
  #paused = false;
  #corked = false;
  #awaitsPong = false;

  constructor(webSocket: WebSocket, socket: Socket, options: ConnectionOptions) {
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#options = options;
    webSocket.on('message', (data, isBinary) => this.#onMessage(data, isBinary));
    webSocket.on('pong', () => {
      this.#awaitsPong = false;
    });
    socket.on('drain', () => this.#resumeWhenPossible());
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Called every pingIntervalMs: a connection silent since the last call is ended. */
  ping(): void {
    // While reading is paused a pong cannot arrive.
    if (this.#awaitsPong && !this.#paused) {
      this.#webSocket.terminate();
      return;
    }
    this.#awaitsPong = true;
    this.#webSocket.ping();
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    const { admission } = this.#options;
    if (isBinary) {
      admission.countRefusal('websocket', 'malformed');
      this.#send(problemAnswer(null, 'binary frames are not understood: send JSON text'));
      return;
    }
    const frame = readFrame(data as Buffer);
    if ('problem' in frame) {
      admission.countRefusal('websocket', 'malformed');
      this.#send(problemAnswer(frame.id, frame.problem));
      return;
    }
    this.#inFlight += 1;
    admission.submit(frame.submission, (outcome) => {
      this.#inFlight -= 1;
      this.#send(answerOf(frame.id, outcome));
      this.#options.onSettled();
    });
    this.#pauseWhenFull();
  }

  /** The answers of one turn of the loop leave in one write. */
  #send(text: string): void {
    if (this.#webSocket.readyState !== this.#webSocket.OPEN) return;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      setImmediate(() => {
        this.#corked = false;
        this.#socket.uncork();
        this.#pauseWhenFull();
        this.#resumeWhenPossible();
      });
    }
    this.#webSocket.send(text);
  }

  #isFull(): boolean {
    const { maxInFlight, maxAckBacklogBytes } = this.#options.config;
    return this.#inFlight >= maxInFlight || this.#socket.writableLength > maxAckBacklogBytes;
  }

  #pauseWhenFull(): void {
    if (this.#paused || !this.#isFull() || this.#webSocket.readyState !== this.#webSocket.OPEN) return;
    this.#paused = true;
    this.#webSocket.pause();
  }

  #resumeWhenPossible(): void {
    if (!this.#paused || this.#isFull()) return;
    this.#paused = false;
    this.#webSocket.resume();
  }
}
