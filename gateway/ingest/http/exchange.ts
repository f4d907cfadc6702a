// One request to an ingest route and its answer: who asks, what the body is, how refusals are written. Knows no route.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Principal } from '../../access/types.ts';
import type { Admission } from '../../admission/admission.ts';
import type { IngestConfig } from '../../admission/config.ts';
import type { Shown } from '../credentials.ts';
import type { Door, Entry } from '../door.ts';
import { type Problem, writeProblem } from '../problem.ts';
import type { BodyOutcome, BodyReader } from './body.ts';
import type { HttpIngestConfig } from './config.ts';
import { LaneRequest, LaneResponse } from './lane-exchange.ts';
import { type HttpRefusal, problemOf, type Refuse, type Refused, refusalOf } from './refusal.ts';
import type { Sliced, Slices } from './slices.ts';

export interface ExchangeParts {
  readonly admission: Admission;
  readonly config: IngestConfig;
  readonly http: HttpIngestConfig;
  readonly door: Door;
  readonly bodies: BodyReader;
  readonly slices: Slices;
  /** Hears what failed inside; the caller learns nothing of it. */
  onError(error: unknown, request: IngestRequest): void;
}

const INTERNAL: Problem = {
  status: 500,
  code: 'internal',
  detail: 'The gateway could not answer this; its log says why.',
};
const NO_QUERY = new URLSearchParams();

export type IngestRequest = IncomingMessage | LaneRequest;
export type IngestResponse = ServerResponse | LaneResponse;

export class Exchange {
  readonly request: IngestRequest;
  readonly response: IngestResponse;
  /** Without the query. */
  readonly path: string;
  readonly parts: ExchangeParts;
  /** How this family of routes writes its refusals. */
  writeRefusal: Refuse = writeProblem;
  readonly #queryAt: number;

  constructor(request: IngestRequest, response: IngestResponse, parts: ExchangeParts) {
    const url = request.url ?? '/';
    this.request = request;
    this.response = response;
    this.parts = parts;
    this.#queryAt = url.indexOf('?');
    this.path = this.#queryAt === -1 ? url : url.slice(0, this.#queryAt);
  }

  get query(): URLSearchParams {
    return this.#queryAt === -1 ? NO_QUERY : new URLSearchParams(this.request.url!.slice(this.#queryAt + 1));
  }

  /** Calls `then` with who asks; anyone else has been answered. */
  enter(elsewhere: Shown | undefined, then: (principal: Principal) => void): void {
    const go = (entry: Entry) => {
      if (entry.problem === null) this.guarded(() => then(entry.principal));
      else this.#refuse(entry.problem);
    };
    const entry = this.parts.door.judge(this.request, elsewhere);
    if (entry instanceof Promise) void entry.then(go);
    else go(entry);
  }

  /** Calls `then` with the body; where there is none within the limits, the client has been answered. */
  receive(limit: number, then: (body: Buffer) => void): void {
    const { request, response, parts } = this;
    const go = (outcome: BodyOutcome) => {
      if (Buffer.isBuffer(outcome)) this.guarded(() => then(outcome));
      else this.refuse(outcome);
    };
    if (request instanceof LaneRequest) go(parts.bodies.whole(request.body, limit, response));
    else if (!(response instanceof LaneResponse)) parts.bodies.read(request, response, limit, go);
  }

  /** A refusal of the adapter's own; it is counted here. */
  refuse(refusal: HttpRefusal, more?: object): void {
    const { code } = refusal;
    const { admission } = this.parts;
    if (code === 'malformed' || code === 'too-large' || code === 'not-allowed' || code === 'bad-topic')
      admission.countRefusal('http', code);
    else if (code === 'unsupported-type' || code === 'method-not-allowed')
      admission.countRefusal('http', 'malformed');
    this.#refuse(problemOf(refusal), more);
  }

  /** A refusal of admission's, which has counted it. */
  refused(outcome: Refused, more?: object): void {
    this.#refuse(problemOf(refusalOf(outcome)), more);
  }

  /** The same in words of the caller's own. */
  refusedAs(problem: Problem, more: object): void {
    this.#refuse(problem, more);
  }

  /** No record of a batch was accepted, and each refusal has been counted. */
  refusedBatch(result: object): void {
    this.#refuse(problemOf({ code: 'malformed', detail: 'no record of the batch was accepted' }), result);
  }

  /** `body` is ASCII. */
  answer(status: number, head: readonly (string | number)[], body: string): void {
    // It has been told that this failed.
    if (this.response.headersSent) return;
    // A 204 has no length [RFC 9110 §8.6].
    this.response.writeHead(status, status === 204 ? [...head] : [...head, 'content-length', body.length]);
    this.response.end(body);
    if (!(this.response instanceof LaneResponse)) this.parts.bodies.unread(this.response);
  }

  /** Whatever `work` throws is answered 500. */
  guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Work that may be long: the event loop gets to others in between. */
  sliced<T>(work: Sliced<T>, done: (result: T) => void = () => {}): void {
    this.parts.slices.run(work, done, (error) => this.#failed(error));
  }

  #failed(error: unknown): void {
    this.parts.onError(error, this.request);
    if (!this.response.headersSent) this.#refuse(INTERNAL);
  }

  #refuse(problem: Problem, more?: object): void {
    const { response, request, parts } = this;
    if (response.headersSent || response.destroyed) return;
    this.writeRefusal(response, problem, more);
    if (request instanceof LaneRequest || response instanceof LaneResponse) response.end();
    else {
      parts.bodies.drain(request, response);
      parts.bodies.unread(response);
    }
  }
}
