// GET /api/v1/blocks: the newest sealed blocks, newest first.
import type { FastifyInstance } from 'fastify';
import { sendProblem } from '../../ingest/problem.ts';
import { isProblem, limitIn, type Query } from '../query.ts';
import { KEPT_BLOCKS, type SealedBlocks } from '../sealed.ts';

const DEFAULT_LIMIT = 20;

export function blockRoutes(app: FastifyInstance, sealed: SealedBlocks): void {
  app.get<{ Querystring: Query }>('/api/v1/blocks', async (request, reply) => {
    const limit = limitIn(request.query, DEFAULT_LIMIT, KEPT_BLOCKS);
    if (isProblem(limit)) return sendProblem(reply, limit);
    return reply.header('cache-control', 'no-store').send({ blocks: await sealed.newest(limit) });
  });
}
