// GET /api/v1/devices: devices as ingest has seen them; searched, sorted and cut here, so that a page stays small.
import type { FastifyInstance } from 'fastify';
import type { DeviceSeen } from '../../admission/devices.ts';
import { type Problem, sendProblem } from '../../ingest/problem.ts';
import type { ApiDeps } from '../deps.ts';
import { isProblem, limitIn, type Query, textIn } from '../query.ts';

const DEFAULT_LIMIT = 1000;
const MAX_LIMIT = 10_000;

const ORDERS = {
  lastMs: (a: DeviceSeen, b: DeviceSeen) => b.lastMs - a.lastMs,
  records: (a: DeviceSeen, b: DeviceSeen) => b.records - a.records,
  device: (a: DeviceSeen, b: DeviceSeen) => (a.device < b.device ? -1 : a.device > b.device ? 1 : 0),
} as const;

function orderIn(query: Query): keyof typeof ORDERS | Problem {
  const sort = textIn(query, 'sort') ?? 'lastMs';
  if (isProblem(sort)) return sort;
  if (Object.hasOwn(ORDERS, sort)) return sort as keyof typeof ORDERS;
  return { status: 400, code: 'malformed', detail: `sort is one of ${Object.keys(ORDERS).join(', ')}.` };
}

export function deviceRoutes(app: FastifyInstance, deps: Pick<ApiDeps, 'devices'>): void {
  app.get<{ Querystring: Query }>('/api/v1/devices', async (request, reply) => {
    const limit = limitIn(request.query, DEFAULT_LIMIT, MAX_LIMIT);
    const search = textIn(request.query, 'search');
    const order = orderIn(request.query);
    if (isProblem(limit)) return sendProblem(reply, limit);
    if (isProblem(search)) return sendProblem(reply, search);
    if (isProblem(order)) return sendProblem(reply, order);
    const wanted = search?.toLowerCase();
    const found: DeviceSeen[] = [];
    for (const device of deps.devices()) {
      if (!wanted || matches(device, wanted)) found.push(device);
    }
    found.sort(ORDERS[order]);
    return reply
      .header('cache-control', 'no-store')
      .send({ devices: found.slice(0, limit), total: found.length });
  });
}

const matches = (device: DeviceSeen, wanted: string) =>
  device.device.toLowerCase().includes(wanted) ||
  device.topics.some((topic) => topic.toLowerCase().includes(wanted));
