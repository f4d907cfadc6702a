// GET /api/v1/blocks: the newest sealed blocks, newest first; GET /api/v1/critical: those of critical records, likewise.
import type { FastifyInstance } from 'fastify';
import { sendProblem } from '../../ingest/problem.ts';
import { isProblem, limitIn, type Query, wholeNumber } from '../query.ts';
import { KEPT_BLOCKS, type SealedBlocks } from '../sealed.ts';

const DEFAULT_LIMIT = 20;

export function blockRoutes(app: FastifyInstance, sealed: SealedBlocks): void {
  app.get<{ Querystring: Query }>('/api/v1/blocks', async (request, reply) => {
    const limit = limitIn(request.query, DEFAULT_LIMIT, KEPT_BLOCKS);
    if (isProblem(limit)) return sendProblem(reply, limit);
    return reply.header('cache-control', 'no-store').send({ blocks: await sealed.newest(limit) });
  });

  app.get<{ Querystring: Query }>('/api/v1/critical', async (request, reply) => {
    const limit = limitIn(request.query, DEFAULT_LIMIT, KEPT_BLOCKS);
    if (isProblem(limit)) return sendProblem(reply, limit);
    const before = request.query.before === undefined ? null : wholeNumber(request.query.before);
    if (before === null && request.query.before !== undefined) return sendProblem(reply, BAD_BEFORE);
    return reply.header('cache-control', 'no-store').send(await sealed.critical(limit, before));
  });
}

const BAD_BEFORE = {
  status: 400,
  code: 'malformed',
  detail: 'before is a block height in decimal digits, given once.',
};
