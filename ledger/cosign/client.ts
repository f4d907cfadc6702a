// Speaks C2SP tlog-witness to one authority: a submission out, a closed set of outcomes back; and reads what it shows of this
// gateway. Trusts no answer: the caller checks every signature. Keeps no state but its connection.
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { type AddCheckpoint, formatAddCheckpoint, parseTlogSize } from '../format/add-checkpoint.ts';

export type SubmitOutcome =
  /** Signature lines as they came, unchecked. */
  | { readonly kind: 'answered'; readonly lines: string }
  /** It holds another size; null where it does not say which. */
  | { readonly kind: 'conflict'; readonly size: number | null }
  /** The proof does not lead from what it holds. */
  | { readonly kind: 'inconsistent'; readonly reason: string }
  /** It does not know this gateway or its key, or cannot read what was sent. */
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string; readonly retryAfterMs: number | null };

export interface ClientOptions {
  /** Submission prefix, as the policy names it. */
  readonly url: string;
  readonly timeoutMs: number;
  /** PEM; the system's certificate authorities where it is absent. */
  readonly ca?: string | undefined;
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly retryAfter: string | undefined;
}

const ANSWER_MAX_BYTES = 64 * 1024;
const SHOWN_MAX = 200;

export class AuthorityClient {
  readonly #options: ClientOptions;
  readonly #base: URL;
  readonly #agent: HttpAgent;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#base = new URL(`${options.url.replace(/\/+$/, '')}/`);
    const keep = { keepAlive: true, maxSockets: 2 };
    this.#agent =
      this.#base.protocol === 'https:' ? new HttpsAgent({ ...keep, ca: options.ca }) : new HttpAgent(keep);
  }

  async submit(submission: AddCheckpoint, signal: AbortSignal): Promise<SubmitOutcome> {
    let answer: Answer;
    try {
      answer = await this.#send('add-checkpoint', formatAddCheckpoint(submission), signal);
    } catch (error) {
      return { kind: 'failed', reason: reasonOf(error), retryAfterMs: null };
    }
    const { status, body } = answer;
    const said = `HTTP ${status} ${body.trim().slice(0, SHOWN_MAX)}`.trim();
    if (status === 200) return { kind: 'answered', lines: body };
    if (status === 409) return { kind: 'conflict', size: parseTlogSize(body) };
    if (status === 422) return { kind: 'inconsistent', reason: said };
    if (status === 400 || status === 403 || status === 404) return { kind: 'refused', reason: said };
    const seconds = Number(answer.retryAfter);
    return {
      kind: 'failed',
      reason: said,
      retryAfterMs: seconds > 0 && seconds < 3_600 ? seconds * 1_000 : null,
    };
  }

  /** What it serves at a path below its prefix, unchecked; null, and why, where that is nothing. */
  async view(
    path: string,
    signal: AbortSignal,
  ): Promise<
    { readonly note: string; readonly reason: null } | { readonly note: null; readonly reason: string }
  > {
    try {
      const { status, body } = await this.#send(path, null, signal);
      if (status === 200) return { note: body, reason: null };
      return { note: null, reason: `it shows no checkpoint (HTTP ${status})` };
    } catch (error) {
      return { note: null, reason: `it shows no checkpoint (${reasonOf(error)})` };
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #send(path: string, body: string | null, signal: AbortSignal): Promise<Answer> {
    const { timeoutMs } = this.#options;
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    return new Promise((resolve, reject) => {
      const send = this.#base.protocol === 'https:' ? httpsRequest : httpRequest;
      const headers =
        body === null ? {} : { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) };
      const request = send(
        new URL(path, this.#base),
        { method: body === null ? 'GET' : 'POST', agent: this.#agent, signal: limit, headers },
        (response) => {
          readAnswer(response).then(
            (text) =>
              resolve({
                status: response.statusCode ?? 0,
                body: text,
                retryAfter: response.headers['retry-after'],
              }),
            reject,
          );
        },
      );
      request.on('error', reject);
      request.end(body ?? undefined);
    });
  }
}

async function readAnswer(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > ANSWER_MAX_BYTES) throw new Error(`the answer has more than ${ANSWER_MAX_BYTES} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function reasonOf(error: unknown): string {
  const { name, code, message } = error as NodeJS.ErrnoException;
  if (name === 'TimeoutError' || code === 'ABORT_ERR') return 'no answer in time';
  return (code ?? message ?? String(error)).slice(0, SHOWN_MAX);
}
