// GET /api/v1/anomalies and /api/v1/windows: the newest derived records, newest first.
import type { FastifyInstance } from 'fastify';
import { sendProblem } from '../../ingest/problem.ts';
import type { DerivedTail } from '../derived.ts';
import { isProblem, limitIn, type Query } from '../query.ts';

const DEFAULT_LIMIT = 50;

export function derivedRoutes(app: FastifyInstance, derived: DerivedTail, kept: number): void {
  for (const kind of ['anomalies', 'windows'] as const) {
    app.get<{ Querystring: Query }>(`/api/v1/${kind}`, async (request, reply) => {
      const limit = limitIn(request.query, DEFAULT_LIMIT, kept);
      if (isProblem(limit)) return sendProblem(reply, limit);
      const records = derived.newest(kind, limit).map((record) => record.json);
      return reply
        .header('cache-control', 'no-store')
        .type('application/json; charset=utf-8')
        .send(`{"${kind}":[${records.join(',')}]}`);
    });
  }
}
