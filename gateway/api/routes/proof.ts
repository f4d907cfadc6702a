// GET /api/v1/records/:offset/proof: the proof file of one record, as it would be saved.
import type { FastifyInstance } from 'fastify';
import type { Offset } from '../../../ledger/format/brand.ts';
import { type Problem, sendProblem } from '../../ingest/problem.ts';
import type { LogReader } from '../../log/types.ts';
import { GATE_FULL, type Gate } from '../gate.ts';
import type { ProofAnswer, ProofSource } from '../proofs.ts';
import { isProblem, offsetIn } from '../query.ts';
import { notHeld } from './records.ts';

/** A block is due about a second after its first record. */
const SEALING_MS = 1000;

export function proofRoutes(app: FastifyInstance, reader: LogReader, proofs: ProofSource, gate: Gate): void {
  app.get<{ Params: { offset: string } }>('/api/v1/records/:offset/proof', async (request, reply) => {
    const at = offsetIn(request.params.offset);
    if (isProblem(at)) return sendProblem(reply, at);
    if (at >= (await reader.end())) return sendProblem(reply, await notHeld(reader, at));
    const result = await gate.run(() => proofs.prove(at));
    if (result === 'full') return sendProblem(reply, GATE_FULL);
    if (result.kind !== 'proof') return sendProblem(reply, problemOf(result, at));
    return reply
      .header('cache-control', 'no-store')
      .header('content-disposition', `inline; filename="record-${at}.tidemark-proof.json"`)
      .type('application/json; charset=utf-8')
      .send(result.text);
  });
}

function problemOf(result: Exclude<ProofAnswer, { kind: 'proof' }>, at: Offset): Problem {
  switch (result.kind) {
    case 'not-sealed-yet':
      return {
        status: 409,
        code: 'not-sealed-yet',
        detail: `Record ${at} is stored, and no signed block covers it yet: blocks reach to before ${result.sealedEnd}.`,
        retryAfterMs: SEALING_MS,
      };
    case 'not-held':
      return {
        status: 404,
        code: 'not-held',
        detail: `Record ${at} is in block ${result.height}, but the log no longer holds all records of that block.`,
      };
    case 'lost':
      return {
        status: 404,
        code: 'lost',
        detail: `Record ${at} was lost before it could be sealed; block ${result.height} of the ledger says so.`,
      };
    case 'does-not-match':
      return {
        status: 500,
        code: 'does-not-match',
        detail: `What the log holds no longer leads to what block ${result.height} sealed: one of them was changed. \`tidemark fsck\` names the place.`,
      };
  }
}
