// GET /api/v1/records and /api/v1/records/:offset: durable records in their JSON form. Reads within bounds.
import type { FastifyInstance } from 'fastify';
import { type Offset, offset } from '../../../ledger/format/brand.ts';
import { recordToJson, type TelemetryRecord } from '../../../ledger/format/record.ts';
import { sendProblem } from '../../ingest/problem.ts';
import type { LogQuery, LogReader, SearchableLogReader } from '../../log/types.ts';
import { GATE_FULL, type Gate } from '../gate.ts';
import { isProblem, limitIn, offsetIn, type Query, textIn, timeIn } from '../query.ts';

const MAX_LIMIT = 1000;
const DEFAULT_LIMIT = 100;

/** Bytes asked of the log at a time: small, so that devices are served between two pieces. */
const PIECE_BYTES = 131_072;

/** All records from `from` on; `next` is where to go on. */
async function collect(
  reader: LogReader,
  from: Offset,
  limit: number,
  maxBytes: number,
): Promise<{ records: TelemetryRecord[]; next: Offset }> {
  const records: TelemetryRecord[] = [];
  let next = from;
  for (let bytesLeft = maxBytes; records.length < limit && bytesLeft > 0; bytesLeft -= PIECE_BYTES) {
    const piece = await reader.fetch(next, {
      maxBytes: Math.min(PIECE_BYTES, bytesLeft),
      maxRecords: limit - records.length,
    });
    if (piece.length === 0) break;
    records.push(...piece);
    next = offset(piece.at(-1)!.offset + 1);
  }
  return { records, next };
}

export function recordRoutes(
  app: FastifyInstance,
  reader: SearchableLogReader,
  gate: Gate,
  maxReadBytes: number,
): void {
  app.get<{ Params: { offset: string } }>('/api/v1/records/:offset', async (request, reply) => {
    const at = offsetIn(request.params.offset);
    if (isProblem(at)) return sendProblem(reply, at);
    const found = await gate.run(() => reader.fetch(at, { maxRecords: 1 }));
    if (found === 'full') return sendProblem(reply, GATE_FULL);
    const record = found[0];
    if (record?.offset !== at) return sendProblem(reply, await notHeld(reader, at));
    return reply.header('cache-control', 'no-store').send({ record: recordToJson(record) });
  });

  app.get<{ Querystring: Query }>('/api/v1/records', async (request, reply) => {
    const { query } = request;
    const from = query.from === undefined ? await reader.start() : offsetIn(query.from);
    const limit = limitIn(query, DEFAULT_LIMIT, MAX_LIMIT);
    const topic = textIn(query, 'topic');
    const device = textIn(query, 'device');
    const fromMs = timeIn(query, 'from_ms');
    const toMs = timeIn(query, 'to_ms');
    for (const value of [from, limit, topic, device, fromMs, toMs])
      if (isProblem(value)) return sendProblem(reply, value);
    const wanted = { topic, device, fromMs, toMs } as Pick<LogQuery, 'topic' | 'device' | 'fromMs' | 'toMs'>;
    const bounds = { fromOffset: from as Offset, limit: limit as number };
    const chosen = Object.values(wanted).some((value) => value !== undefined);
    const found = await gate.run(() =>
      chosen
        ? reader.query({ ...wanted, ...bounds, maxReadBytes })
        : collect(reader, bounds.fromOffset, bounds.limit, maxReadBytes),
    );
    if (found === 'full') return sendProblem(reply, GATE_FULL);
    return reply
      .header('cache-control', 'no-store')
      .send({ records: found.records.map(recordToJson), next: found.next });
  });
}

/** Why there is no record at `at`. */
export async function notHeld(reader: LogReader, at: Offset) {
  const [start, end] = [await reader.start(), await reader.end()];
  const where = at >= end ? `the newest record is ${end - 1}` : `the oldest record still held is ${start}`;
  const detail = end === start ? 'The log holds no records yet.' : `There is no record ${at} here: ${where}.`;
  return { status: 404, code: 'not-held', detail };
}
