// The thread that makes proofs: reads log and ledger by itself, answers one request after another.
import { parentPort, workerData } from 'node:worker_threads';
import { offset } from '../../ledger/format/brand.ts';
import { coldFs } from '../cold/cold-fs.ts';
import { realFs } from '../log/fs.ts';
import { openReader } from '../log/reader.ts';
import { leafSource } from '../log/retention/leaf-files.ts';
import { LogError } from '../log/types.ts';
import { giveWay } from '../threads/priority.ts';
import {
  localProofs,
  type ProofFailure,
  type ProofReply,
  type ProofReplyAnswer,
  type ProofRequest,
  type ProofWorkerInit,
} from './proofs.ts';

const port = parentPort;
if (!port) throw new Error('this entry runs only as a worker thread');
giveWay();
const { dataDir, durableEnd, cold } = workerData as ProofWorkerInit;
const fs = cold ? coldFs(dataDir, cold) : realFs;
const proofs = localProofs(await openReader({ dataDir, durableEnd, fs }), dataDir, leafSource(dataDir, fs));

async function reply(request: ProofRequest): Promise<ProofReply> {
  const { id } = request;
  try {
    return { id, answer: await answerTo(request) };
  } catch (error) {
    return { id, failure: failureOf(error) };
  }
}

function answerTo(request: ProofRequest): Promise<ProofReplyAnswer> {
  if ('provenance' in request) return proofs.provenance(offset(request.provenance));
  if ('leavesFrom' in request) return proofs.leaves(request.leavesFrom, request.leavesEnd);
  if ('flow' in request) return proofs.flow(request.flow);
  if ('offset' in request) return proofs.prove(offset(request.offset));
  if ('device' in request) return proofs.proveDevice(request.height, request.device);
  return proofs.proveRange(offset(request.first), offset(request.last));
}

function failureOf(error: unknown): ProofFailure {
  if (error instanceof LogError) {
    return { message: error.message, log: { code: error.code, facts: error.facts } };
  }
  return { message: error instanceof Error ? error.message : String(error), log: null };
}

port.on('message', async (request: ProofRequest) => port.postMessage(await reply(request)));
