// Calls to a running gateway's HTTP API, with errors for people.
import { CommandError, EXIT } from './errors.ts';

/** RFC 9457, as the gateway sends it. */
export interface Problem {
  readonly code?: string;
  readonly detail?: string;
}

const TIMEOUT_MS = 30_000;

/**
 * Shows the token in TIDEMARK_TOKEN, if there is one.
 * @throws CommandError when the address is none or nothing answers there
 */
export async function fetchFrom(base: string, path: string, init: RequestInit = {}): Promise<Response> {
  let url: URL;
  try {
    url = new URL(path, base);
  } catch (error) {
    throw new CommandError(EXIT.usage, `${JSON.stringify(base)} is not a URL such as http://127.0.0.1:8080`, {
      cause: error,
    });
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new CommandError(EXIT.usage, `${base}: only http and https addresses can be asked`);
  try {
    const token = process.env.TIDEMARK_TOKEN;
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), headers, ...init });
  } catch (error) {
    const cause = (error as Error).cause;
    throw new CommandError(
      EXIT.unable,
      `${url.origin} does not answer: ${cause instanceof Error ? cause.message : (error as Error).message}`,
      { hint: 'is the gateway running there?', cause: error },
    );
  }
}

/** The end of a running gateway's log. @throws CommandError when there is no gateway at the address */
export async function logEndOf(httpUrl: string): Promise<number> {
  const response = await fetchFrom(httpUrl, '/api/v1/status');
  if (!response.ok)
    throw new CommandError(EXIT.unable, `${httpUrl} answers ${response.status}: is it a tidemark gateway?`, {
      hint: 'give its HTTP address, and a token in TIDEMARK_TOKEN where it asks for one',
    });
  const { log } = (await response.json()) as { log: { end: number } };
  return log.end;
}
