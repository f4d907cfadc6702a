// GET /api/v1/records/:offset/provenance: where a record came from and where it went; GET /api/v1/provenance?from_ms=&to_ms=:
// everything that was sealed between two times, re-hashed.
import type { FastifyInstance } from 'fastify';
import type { Offset } from '../../../ledger/format/brand.ts';
import type { SinkState } from '../../../ledger/provenance/answers.ts';
import { type Problem, sendProblem } from '../../ingest/problem.ts';
import type { LogReader } from '../../log/types.ts';
import type { StageFigures } from '../../stage/types.ts';
import { GATE_FULL, type Gate } from '../gate.ts';
import type { ProofSource } from '../proofs.ts';
import { isProblem, offsetIn, type Query, timeIn, wholeNumber } from '../query.ts';
import { notHeld } from './records.ts';

/** Records looked at for one answer; `nextHeight` says where to go on. */
const FLOW_RECORDS = 200_000;
const FORWARDER = 'forwarder:';

type Stages = () => Readonly<Record<string, StageFigures>>;

export function provenanceRoutes(
  app: FastifyInstance,
  reader: LogReader,
  proofs: ProofSource,
  gate: Gate,
  stages: Stages,
): void {
  const access = { config: { access: 'prove' } } as const;
  app.get<{ Params: { offset: string } }>(
    '/api/v1/records/:offset/provenance',
    access,
    async (request, reply) => {
      const at = offsetIn(request.params.offset);
      if (isProblem(at)) return sendProblem(reply, at);
      const answer = await gate.run(() => proofs.provenance(at as Offset));
      if (answer === 'full') return sendProblem(reply, GATE_FULL);
      if (answer.kind === 'not-held')
        return sendProblem(reply, await gone(reader, at as Offset, answer.block));
      return reply
        .header('cache-control', 'no-store')
        .send({ ...answer.provenance, sinks: sinksAt(stages, at as Offset) });
    },
  );

  app.get<{ Querystring: Query }>('/api/v1/provenance', access, async (request, reply) => {
    const { query } = request;
    const fromMs = timeIn(query, 'from_ms');
    const toMs = timeIn(query, 'to_ms');
    for (const value of [fromMs, toMs]) if (isProblem(value)) return sendProblem(reply, value);
    const fromHeight = query.height === undefined ? undefined : wholeNumber(query.height);
    if (fromMs === undefined || toMs === undefined || fromHeight === null)
      return sendProblem(reply, BAD_TIMES);
    const question = {
      fromMs: fromMs as number,
      toMs: toMs as number,
      maxRecords: FLOW_RECORDS,
      ...(fromHeight !== undefined && { fromHeight }),
    };
    const flow = await gate.run(() => proofs.flow(question));
    if (flow === 'full') return sendProblem(reply, GATE_FULL);
    return reply
      .header('cache-control', 'no-store')
      .send({ ...flow, sinks: sinksAt(stages, flow.offsets.end - 1) });
  });
}

/** Each forwarder against one offset, from its figures. */
function sinksAt(stages: Stages, at: number): SinkState[] {
  return Object.entries(stages()).flatMap(([name, { next }]) =>
    name.startsWith(FORWARDER) && typeof next === 'number'
      ? [{ name: name.slice(FORWARDER.length), next, passed: next > at }]
      : [],
  );
}

async function gone(
  reader: LogReader,
  at: Offset,
  block: { readonly height: number } | null,
): Promise<Problem> {
  const problem = await notHeld(reader, at);
  return block ? { ...problem, detail: `${problem.detail} Block ${block.height} sealed it.` } : problem;
}

const BAD_TIMES: Problem = {
  status: 400,
  code: 'malformed',
  detail: 'from_ms and to_ms are times in unix milliseconds, height a whole number.',
};
