// GET /api/v1/records/:offset/proof: the proof file of one record, or with ?last= of consecutive ones, as it would be saved;
// GET /api/v1/blocks/:height/devices/:device: what a block says of a device, with its proof;
// GET /api/v1/leaves: what is left of removed records, so that those beside them can be checked.
import type { FastifyInstance } from 'fastify';
import { toBase64 } from '../../../ledger/format/base64.ts';
import { MAX_BLOCK_RECORDS } from '../../../ledger/format/block.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import { type Problem, sendProblem } from '../../ingest/problem.ts';
import type { LogReader } from '../../log/types.ts';
import { GATE_FULL, type Gate } from '../gate.ts';
import type { ProofSource, RangeAnswer } from '../proofs.ts';
import { isProblem, offsetIn, type Query, wholeNumber } from '../query.ts';
import { notHeld } from './records.ts';

/** A block is due about a second after its first record. */
const SEALING_MS = 1000;

/** Records in one file over HTTP; `tidemark prove` on the data directory writes longer ones. */
const MAX_RANGE = 1_000;

export function proofRoutes(app: FastifyInstance, reader: LogReader, proofs: ProofSource, gate: Gate): void {
  const access = { config: { access: 'prove' } } as const;
  app.get<{ Params: { offset: string }; Querystring: Query }>(
    '/api/v1/records/:offset/proof',
    access,
    async (request, reply) => {
      const at = offsetIn(request.params.offset);
      const last = request.query.last === undefined ? at : offsetIn(request.query.last);
      for (const value of [at, last]) if (isProblem(value)) return sendProblem(reply, value);
      const [from, to] = [at, last] as [Offset, Offset];
      if (to < from || to - from >= MAX_RANGE) return sendProblem(reply, BAD_RANGE);
      if (to >= (await reader.end())) return sendProblem(reply, await notHeld(reader, to));
      const isRange = request.query.last !== undefined;
      const result = await gate.run(() => (isRange ? proofs.proveRange(from, to) : proofs.prove(from)));
      if (result === 'full') return sendProblem(reply, GATE_FULL);
      if (result.kind !== 'proof') return sendProblem(reply, problemOf(result, from));
      const name = isRange ? `records-${from}-${to}.tidemark-proofs` : `record-${from}.tidemark-proof`;
      return reply
        .header('cache-control', 'no-store')
        .header('content-disposition', `inline; filename="${name}.json"`)
        .type('application/json; charset=utf-8')
        .send(result.text);
    },
  );

  app.get<{ Params: { height: string; device: string } }>(
    '/api/v1/blocks/:height/devices/:device',
    access,
    async (request, reply) => {
      const height = wholeNumber(request.params.height);
      const { device } = request.params;
      if (height === null || device === '' || !device.isWellFormed()) return sendProblem(reply, BAD_HEIGHT);
      const result = await gate.run(() => proofs.proveDevice(height, device));
      if (result === 'full') return sendProblem(reply, GATE_FULL);
      if (result.kind === 'no-summary') return sendProblem(reply, noSummary(height));
      if (result.kind !== 'proof') return sendProblem(reply, problemOf(result, null));
      const proof = result.proof.map(({ path, ...rest }) => ({ ...rest, path: path.map(toBase64) }));
      return reply.header('cache-control', 'no-store').send({ height, device, proof });
    },
  );

  app.get<{ Querystring: Query }>('/api/v1/leaves', access, async (request, reply) => {
    const [from, end] = [request.query.from, request.query.end].map(wholeNumber);
    if (from == null || end == null || end <= from || end - from > MAX_BLOCK_RECORDS)
      return sendProblem(reply, BAD_LEAVES);
    const runs = await gate.run(() => proofs.leaves(from, end));
    if (runs === 'full') return sendProblem(reply, GATE_FULL);
    return reply
      .header('cache-control', 'no-store')
      .send({ runs: runs.map(({ first, hashes }) => ({ first, hashes: toBase64(hashes) })) });
  });
}

const BAD_LEAVES: Problem = {
  status: 400,
  code: 'malformed',
  detail: `from and end are offsets, end after from by at most ${MAX_BLOCK_RECORDS}: one block's.`,
};

const BAD_RANGE: Problem = {
  status: 400,
  code: 'malformed',
  detail: `last is an offset from the first on, at most ${MAX_RANGE - 1} further. \`tidemark prove\` on the data directory writes longer ranges.`,
};

const BAD_HEIGHT: Problem = {
  status: 400,
  code: 'malformed',
  detail: 'A height is a whole number in decimal digits, a device a name as devices give it.',
};

const noSummary = (height: number): Problem => ({
  status: 404,
  code: 'no-summary',
  detail: `There is no signed data block at height ${height} that commits to what each device sent.`,
});

/** `at` null: the question was about a whole block. */
function problemOf(result: Exclude<RangeAnswer, { kind: 'proof' }>, at: Offset | null): Problem {
  const what = at === null ? 'What was asked for' : `Record ${at}`;
  switch (result.kind) {
    case 'not-sealed-yet':
      return {
        status: 409,
        code: 'not-sealed-yet',
        detail: `${what} is stored, and no signed block covers it yet: blocks reach to before ${result.sealedEnd}.`,
        retryAfterMs: SEALING_MS,
      };
    case 'too-large':
      return {
        status: 413,
        code: 'too-large',
        detail: `These records are too large for one file: ask for those before ${result.end}.`,
      };
    case 'not-held':
      return {
        status: 404,
        code: 'not-held',
        detail: `${what} is in block ${result.height}, but the log no longer holds all records of that block.`,
      };
    case 'lost':
      return {
        status: 404,
        code: 'lost',
        detail: `${what} was lost before it could be sealed; block ${result.height} of the ledger says so.`,
      };
    case 'does-not-match':
      return {
        status: 500,
        code: 'does-not-match',
        detail: `What the log holds no longer leads to what block ${result.height} sealed: one of them was changed. \`tidemark fsck\` names the place.`,
      };
  }
}
