// GET /api/v1/timestamps: external timestamps, each with the checkpoint it stamps, that of the most blocks first. Judges none
// of them: whoever asks has to.
import type { FastifyInstance } from 'fastify';
import { toBase64 } from '../../../ledger/format/base64.ts';
import { type Problem, sendProblem } from '../../ingest/problem.ts';
import type { ApiDeps } from '../deps.ts';
import { GATE_FULL, type Gate } from '../gate.ts';
import { isProblem, limitIn, type Query, wholeNumber } from '../query.ts';

const LIMIT = 20;
const LIMIT_MAX = 50;

export function timestampRoutes(app: FastifyInstance, timestamps: ApiDeps['timestamps'], gate: Gate): void {
  app.get<{ Querystring: Query }>(
    '/api/v1/timestamps',
    { config: { access: 'prove' } },
    async ({ query }, reply) => {
      const limit = limitIn(query, LIMIT, LIMIT_MAX);
      if (isProblem(limit)) return sendProblem(reply, limit);
      const before = query.before === undefined ? Number.MAX_SAFE_INTEGER : wholeNumber(query.before);
      if (before === null) return sendProblem(reply, BAD_BEFORE);
      const page = await gate.run(() => timestamps(before, limit));
      if (page === 'full') return sendProblem(reply, GATE_FULL);
      return reply.header('cache-control', 'no-store').send({
        timestamps: page.map(({ size, note, token }) => ({ size, checkpoint: note, token: toBase64(token) })),
        next: page.length < limit ? null : page.at(-1)!.size,
      });
    },
  );
}

const BAD_BEFORE: Problem = {
  status: 400,
  code: 'malformed',
  detail: 'before is a number of blocks: the `next` of the answer before.',
};
