// GET /api/v1/status: the figures of the whole gateway.
import type { FastifyInstance } from 'fastify';
import type { Status } from '../status.ts';

export function statusRoutes(app: FastifyInstance, status: () => Promise<Status>): void {
  app.get('/api/v1/status', async (_request, reply) =>
    reply.header('cache-control', 'no-store').send(await status()),
  );
}
