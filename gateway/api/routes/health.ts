// GET /healthz and /readyz for service managers: alive is answering at all, ready is taking records.
import type { FastifyInstance } from 'fastify';

export function healthRoutes(app: FastifyInstance, isReady: () => boolean): void {
  const access = { config: { access: 'public' } } as const;
  app.get('/healthz', access, async (_request, reply) =>
    reply.header('cache-control', 'no-store').type('text/plain').send('ok\n'),
  );
  app.get('/readyz', access, async (_request, reply) => {
    const ready = isReady();
    return reply
      .code(ready ? 200 : 503)
      .header('cache-control', 'no-store')
      .type('text/plain')
      .send(ready ? 'ready\n' : 'not ready: starting or shutting down\n');
  });
}
