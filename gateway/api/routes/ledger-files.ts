// GET /ledger/…: the C2SP tlog-tiles log as it stands on disk. Serves only paths that specification names;
// everything else in or around the directory does not exist here.
import type { FastifyInstance } from 'fastify';
import { CHECKPOINT_PATH, FINAL_CHECKPOINT_PATH, type TileReader } from '../../../ledger/format/tile.ts';
import { sendProblem } from '../../ingest/problem.ts';

export function ledgerFileRoutes(app: FastifyInstance, tiles: TileReader): void {
  const access = { config: { access: 'prove' } } as const;
  app.get<{ Params: { '*': string } }>('/ledger/*', access, async (request, reply) => {
    const path = request.params['*'];
    const bytes = await tiles(path);
    if (path === CHECKPOINT_PATH || path === FINAL_CHECKPOINT_PATH) {
      if (!bytes) return sendProblem(reply, missing('There is no such checkpoint yet.'));
      return reply.header('cache-control', 'no-store').type('text/plain; charset=utf-8').send(bytes);
    }
    if (!bytes) return sendProblem(reply, missing('There is no such tile.'));
    // A partial tile may go once its full one stands, so it is worth keeping for a moment only.
    const cache = path.includes('.p/') ? 'public, max-age=60' : 'public, max-age=31536000, immutable';
    return reply.header('cache-control', cache).type('application/octet-stream').send(bytes);
  });
}

const missing = (detail: string) => ({ status: 404, code: 'not-found', detail });
