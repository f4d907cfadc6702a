// GET /api/v1/tail: server-sent events. `history` once (the rate of the last five minutes), `figures` at once and
// each second, `record` for each derived record.
import type { FastifyInstance } from 'fastify';
import { sendProblem } from '../../ingest/problem.ts';
import type { RateKeeper } from '../rate.ts';
import type { Status } from '../status.ts';
import { type Tail, tailEvent } from '../tail.ts';

export interface TailSources {
  readonly tail: Tail;
  readonly rate: RateKeeper;
  readonly status: () => Promise<Status>;
}

export function tailRoutes(app: FastifyInstance, { tail, rate, status }: TailSources): void {
  app.get('/api/v1/tail', { exposeHeadRoute: false }, async (request, reply) => {
    const figures = await status();
    if (tail.full) {
      const detail = 'As many live streams are open as http.maxTailClients allows.';
      return sendProblem(reply, { status: 503, code: 'overloaded', detail, retryAfterMs: 5000 });
    }
    tail.add(
      reply,
      request.principal,
      tailEvent('history', JSON.stringify(rate.history)) + tailEvent('figures', JSON.stringify(figures)),
    );
    return reply;
  });
}
