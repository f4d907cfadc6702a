// One WebSocket connection: reads frames, answers each by its id after durability (or, in a session, many by one ack a
// turn of the loop), stops reading while too much is in flight or too many answers have not been taken.
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { RawData, WebSocket } from 'ws';
import type { Principal } from '../../access/types.ts';
import type { Admission } from '../../admission/admission.ts';
import type { Outcome, Submission } from '../../admission/types.ts';
import {
  type Answer,
  type AnswerError,
  type BatchAnswer,
  type Encoding,
  encoded,
  errorOf,
  storedAnswer,
  TAKEN_OVER,
} from './answer.ts';
import type { WebSocketConfig } from './config.ts';
import { type Frame, type FrameId, type Hello, type Problem, readCborFrame, readJsonFrame } from './frame.ts';
import type { Sent, Session, Sessions } from './session.ts';

export interface ConnectionOptions {
  readonly admission: Admission;
  readonly config: WebSocketConfig;
  readonly principal: Principal;
  readonly sessions: Sessions;
  onSettled(): void;
}

const POLICY_VIOLATION = 1008;
const TRY_AGAIN_LATER = 1013;
const NOT_ALLOWED: Outcome = {
  kind: 'reject',
  reason: 'not-allowed',
  detail: 'these credentials may not write to this topic',
};

export class WebSocketConnection {
  readonly #webSocket: WebSocket;
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  #inFlight = 0;
  #paused = false;
  #corked = false;
  #awaitsPong = false;
  /** The client's, as its last frame had it. */
  #encoding: Encoding = 'json';
  #session: Session | null = null;
  /** The last id told to the client as settled. */
  #toldLast = 0;
  /** Records the client may have on their way; grows while all goes well, is halved when something was shed. */
  #credit: number;
  #shedThisTurn = false;
  #welcomeDue = false;

  constructor(webSocket: WebSocket, socket: Socket, options: ConnectionOptions) {
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#options = options;
    this.#credit = options.config.maxInFlight;
    webSocket.on('message', (data, isBinary) => this.#onMessage(data, isBinary));
    webSocket.on('pong', () => {
      this.#awaitsPong = false;
    });
    webSocket.on('close', () => this.#leaveSession());
    socket.on('drain', () => this.#resumeWhenPossible());
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get principal(): Principal {
    return this.#options.principal;
  }

  /** Called every pingIntervalMs: a connection silent since the last call is ended. */
  ping(): void {
    const { expiresMs } = this.principal;
    if (expiresMs !== null && Date.now() >= expiresMs) {
      this.end('the credentials have expired');
      return;
    }
    // While reading is paused a pong cannot arrive.
    if (this.#awaitsPong && !this.#paused) {
      this.#webSocket.terminate();
      return;
    }
    this.#awaitsPong = true;
    this.#webSocket.ping();
  }

  /** For want of rights; what is in flight is stored all the same. */
  end(reason: string): void {
    this.#webSocket.close(POLICY_VIOLATION, reason);
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    const { maxInFlight } = this.#options.config;
    this.#encoding = isBinary ? 'cbor' : 'json';
    const frame = isBinary
      ? readCborFrame(data as Buffer, maxInFlight)
      : readJsonFrame(data as Buffer, maxInFlight);
    this.#onFrame(frame);
    this.#pauseWhenFull();
  }

  #onFrame(frame: Frame): void {
    if (frame.kind === 'problem') {
      this.#options.admission.countRefusal('websocket', 'malformed');
      this.#refuse(frame.id, frame.problem);
    } else if (frame.kind === 'hello') this.#hello(frame.hello);
    else if (this.#session !== null) this.#inSession(this.#session, frame);
    else if (frame.kind === 'record') this.#record(frame.id, frame.submission);
    else this.#batch(frame.id, frame.items);
  }

  #refuse(id: FrameId | null, detail: string): void {
    const error: AnswerError = { code: 'malformed', detail };
    this.#say({ id, error });
    // In a session, an id that was refused must not be waited for.
    if (this.#session !== null && typeof id === 'number' && Number.isSafeInteger(id)) {
      const sent = this.#session.begin(id, 1);
      this.#session.refuse({ id, error });
      if (sent !== null) this.#session.settle(sent);
    }
  }

  /** `done` is called once, with what became of it. */
  #submit(item: Submission | Problem, done: (outcome: Outcome) => void): void {
    const { admission, principal } = this.#options;
    if ('problem' in item) {
      admission.countRefusal('websocket', 'malformed');
      done({ kind: 'reject', reason: 'malformed', detail: item.problem });
      return;
    }
    if (!principal.mayPublish(item.topic)) {
      admission.countRefusal('websocket', 'not-allowed');
      done(NOT_ALLOWED);
      return;
    }
    this.#inFlight += 1;
    const own = { ...item, connection: this, device: principal.device ?? item.device };
    admission.submit(own, (outcome) => {
      this.#inFlight -= 1;
      if (outcome.kind === 'shed') this.#shedThisTurn = true;
      done(outcome);
      this.#options.onSettled();
    });
  }

  // ---- without a session: an answer for each frame

  #record(id: FrameId, submission: Submission): void {
    const encoding = this.#encoding;
    this.#submit(submission, (outcome) => {
      if (outcome.kind === 'stored') this.#send(storedAnswer(id, outcome.offset, encoding));
      else if (outcome.kind === 'duplicate') this.#say({ ack: id, offset: null, duplicate: true }, encoding);
      else this.#say({ id, error: errorOf(outcome) }, encoding);
    });
  }

  #batch(id: FrameId, items: readonly (Submission | Problem)[]): void {
    const answer: BatchAnswer = {
      accepted: 0,
      duplicates: 0,
      firstOffset: null,
      lastOffset: null,
      errors: [],
    };
    const encoding = this.#encoding;
    let open = items.length;
    items.forEach((item, at) => {
      this.#submit(item, (outcome) => {
        if (outcome.kind === 'stored') {
          answer.accepted += 1;
          answer.firstOffset = Math.min(answer.firstOffset ?? outcome.offset, outcome.offset);
          answer.lastOffset = Math.max(answer.lastOffset ?? outcome.offset, outcome.offset);
        } else if (outcome.kind === 'duplicate') answer.duplicates += 1;
        else answer.errors.push({ at, error: errorOf(outcome) });
        open -= 1;
        if (open > 0) return;
        answer.errors.sort((a, b) => a.at - b.at);
        this.#say({ ack: id, ...answer }, encoding);
      });
    });
  }

  // ---- with a session: one ack for all that is settled

  #hello({ session: asked, acked }: Hello): void {
    if (this.#session !== null || this.#inFlight > 0) {
      this.#say({ id: null, error: { code: 'protocol', detail: 'hello comes first, and once' } });
      return;
    }
    const name = asked ?? randomBytes(16).toString('base64url');
    const opened = this.#options.sessions.open(this.principal.name, name, acked);
    if (opened === null) {
      this.#webSocket.close(TRY_AGAIN_LATER, 'too many sessions');
      return;
    }
    const { session, resumed } = opened;
    this.#session = session;
    session.takeOver = () => {
      this.#say({ id: null, error: TAKEN_OVER });
      this.#leaveSession();
      this.#webSocket.close(POLICY_VIOLATION, TAKEN_OVER.detail);
    };
    this.#welcomeDue = true;
    session.onSettled = () => {
      if (this.#welcomeDue) this.#welcome(session, resumed, acked);
      else this.#turn();
    };
    this.#welcome(session, resumed, acked);
  }

  /** Once nothing of an earlier connection is on its way any more, so that `last` speaks of all of it. */
  #welcome(session: Session, resumed: boolean, acked: number): void {
    if (!this.#welcomeDue || !session.isIdle) return;
    this.#welcomeDue = false;
    this.#toldLast = session.last;
    const refused = resumed ? session.refusedAfter(acked) : [];
    const { name, last } = session;
    this.#say({ welcome: { session: name, resumed, last, credit: this.#credit, refused } });
  }

  #inSession(session: Session, frame: Exclude<Frame, { kind: 'hello' | 'problem' }>): void {
    const { id } = frame;
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 1) {
      this.#options.admission.countRefusal('websocket', 'malformed');
      this.#say({ id, error: { code: 'malformed', detail: 'in a session, id is a whole number from 1 on' } });
      return;
    }
    const items = frame.kind === 'record' ? [frame.submission] : frame.items;
    const sent = session.begin(id, items.length);
    if (sent === null) {
      // Sent again although it came before: told once more, once it is settled.
      this.#toldLast = Math.min(this.#toldLast, id - 1);
      this.#turn();
      return;
    }
    items.forEach((item, at) => {
      this.#submit(item, (outcome) =>
        this.#settle(session, sent, frame.kind === 'batch' ? at : null, outcome),
      );
    });
  }

  #settle(session: Session, sent: Sent, at: number | null, outcome: Outcome): void {
    if (outcome.kind === 'reject' || outcome.kind === 'shed') {
      const place = at === null ? {} : { at };
      const refusal = { id: sent.id, ...place, error: errorOf(outcome) };
      session.refuse(refusal);
      // Before the ack that covers it.
      if (this.#session === session) this.#say(refusal);
    } else if (outcome.kind === 'stored') session.stored(outcome.offset);
    session.settle(sent);
  }

  #ackSession(): void {
    const session = this.#session;
    if (session === null || this.#welcomeDue || session.last === this.#toldLast) return;
    const { maxInFlight } = this.#options.config;
    const grown = this.#credit + Math.max(1, this.#credit >> 3);
    this.#credit = this.#shedThisTurn ? Math.max(1, this.#credit >> 1) : Math.min(maxInFlight, grown);
    this.#shedThisTurn = false;
    this.#toldLast = session.last;
    this.#webSocket.send(encoded({ acked: session.last, credit: this.#credit }, this.#encoding));
  }

  #leaveSession(): void {
    if (this.#session === null) return;
    this.#session.takeOver = null;
    this.#session.onSettled = null;
    this.#session = null;
  }

  // ---- sending and pausing

  #say(answer: Answer, encoding = this.#encoding): void {
    this.#send(encoded(answer, encoding));
  }

  #send(message: string | Buffer): void {
    if (this.#webSocket.readyState !== this.#webSocket.OPEN) return;
    this.#turn();
    this.#webSocket.send(message);
  }

  /** The answers of one turn of the loop leave in one write, a session's ack last. */
  #turn(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
    setImmediate(() => {
      this.#corked = false;
      if (this.#webSocket.readyState === this.#webSocket.OPEN) this.#ackSession();
      this.#socket.uncork();
      this.#pauseWhenFull();
      this.#resumeWhenPossible();
    });
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
