// Makes what the server itself refuses, and what fails inside it, answer in the shape of every other refusal. Tells the
// caller nothing of what happened inside the gateway: that is for the log.
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify';
import { type Problem, sendProblem } from '../ingest/problem.ts';
import { LogError } from '../log/types.ts';

const CODES: Readonly<Record<number, string>> = {
  400: 'malformed',
  404: 'not-found',
  405: 'not-found',
  408: 'timeout',
  413: 'too-large',
  414: 'too-large',
  415: 'unsupported-type',
  429: 'overloaded',
  431: 'too-large',
  503: 'overloaded',
};

/** Makes fastify's own errors and unknown paths answer in the same shape. */
export function useProblems(app: FastifyInstance): void {
  app.setErrorHandler<FastifyError>((error, request, reply) => {
    if (error instanceof LogError) {
      if (error.code !== 'CLOSED') request.log.error(factsOf(error, request), 'the log could not be read');
      return sendProblem(reply, logProblem(error));
    }
    const status = error.statusCode ?? 500;
    if (status < 500) {
      return sendProblem(reply, { status, code: CODES[status] ?? 'refused', detail: error.message });
    }
    request.log.error(factsOf(error, request), 'a request failed inside the gateway');
    return sendProblem(reply, {
      status: 500,
      code: 'internal',
      detail: 'The gateway could not answer this; its log says why.',
    });
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0];
    return sendProblem(reply, {
      status: 404,
      code: 'not-found',
      detail: `There is no ${request.method} ${path} here.`,
    });
  });
}

/** The route and not the path: a path can hold what a device calls itself. */
const factsOf = (err: Error, { method, routeOptions }: FastifyRequest) => ({
  err,
  method,
  route: routeOptions.url,
});

function logProblem(error: LogError): Problem {
  if (error.code === 'CLOSED') {
    return {
      status: 503,
      code: 'shutting-down',
      detail: 'The gateway is shutting down.',
      retryAfterMs: 5000,
    };
  }
  const hole =
    error.code === 'SEGMENT_DAMAGED'
      ? ` Records ${error.facts.offset} to before ${error.facts.resume} cannot be read.`
      : '';
  return {
    status: 500,
    code: error.code.toLowerCase().replaceAll('_', '-'),
    detail: `The log cannot be read there.${hole} \`tidemark fsck\` names the file and position.`,
  };
}
