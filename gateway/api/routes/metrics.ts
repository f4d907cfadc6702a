// GET /metrics: Prometheus text, read when asked for.
import type { FastifyInstance } from 'fastify';
import type { MetricFigures } from '../metrics/metric.ts';
import { createMetrics } from '../metrics/render.ts';

export function metricsRoutes(app: FastifyInstance, figures: () => Promise<MetricFigures>): void {
  const metrics = createMetrics();
  app.get('/metrics', async (_request, reply) => {
    const text = await metrics.render(await figures());
    return reply.header('cache-control', 'no-store').type(metrics.contentType).send(text);
  });
}
