// Where the server gets proofs from: a worker thread, because hashing a block of thousands of records would keep
// devices waiting for their answers. One thread, started with the first proof; holds no key and writes nothing.
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type Offset, offset } from '../../ledger/format/brand.ts';
import { type LeafRun, LeafRuns } from '../../ledger/format/leaves.ts';
import { formatProofFile } from '../../ledger/format/proof.ts';
import { formatRangeFile } from '../../ledger/format/proof-range.ts';
import type { FlowReport } from '../../ledger/provenance/answers.ts';
import { type ChainAnswer, provenanceOf } from '../../ledger/provenance/chain.ts';
import { type FlowQuestion, flowBetween } from '../../ledger/provenance/flow.ts';
import type { RecordsOf } from '../../ledger/tiles/blockrecords.ts';
import {
  type DeviceResult,
  type NoProof,
  type ProveOptions,
  Prover,
  type RangeResult,
} from '../../ledger/tiles/prove.ts';
import { directoryTiles } from '../../ledger/tiles/source.ts';
import { directorySubtrees } from '../../ledger/tiles/subtreefiles.ts';
import type { ColdConfig } from '../cold/config.ts';
import { LogError, type LogErrorCode, type SearchableLogReader } from '../log/types.ts';
import { WORKER_LIMITS } from '../threads/limits.ts';

export type ProofAnswer = { readonly kind: 'proof'; readonly text: string } | NoProof;

export type RangeAnswer = ProofAnswer | Extract<RangeResult, { kind: 'too-large' }>;

/** What is asked of a proof source: one record, consecutive records, or what a block says of a device. */
export type ProofQuestion =
  | { readonly offset: number }
  | { readonly first: number; readonly last: number }
  | { readonly height: number; readonly device: string }
  | { readonly provenance: number }
  | { readonly flow: FlowQuestion }
  | { readonly leavesFrom: number; readonly leavesEnd: number };

export type Flow = Omit<FlowReport, 'sinks'>;

export interface ProofSource {
  /** The proof file's text, or why there is none. @throws LogError, FormatError for damaged files */
  prove(at: Offset): Promise<ProofAnswer>;
  /** The same for offsets first..last in one file. */
  proveRange(first: Offset, last: Offset): Promise<RangeAnswer>;
  /** What the block at this height says of a device. */
  proveDevice(height: number, device: string): Promise<DeviceResult>;
  /** Where a record came from and where it went. */
  provenance(at: Offset): Promise<ChainAnswer>;
  /** All that was sealed between two times. */
  flow(question: FlowQuestion): Promise<Flow>;
  /** Leaf hashes of removed records in [from, end) that were kept, ascending. */
  leaves(from: number, end: number): Promise<readonly LeafRun[]>;
}

export interface ProofWorkerInit {
  readonly dataDir: string;
  /** Shared with the log's writer. */
  readonly durableEnd: SharedArrayBuffer;
  /** Where segments are that are no longer here. */
  readonly cold?: ColdConfig | undefined;
}

export type ProofRequest = { readonly id: number } & ProofQuestion;

export type ProofReplyAnswer = RangeAnswer | DeviceResult | ChainAnswer | Flow | readonly LeafRun[];

export type ProofReply =
  | { readonly id: number; readonly answer: ProofReplyAnswer }
  | { readonly id: number; readonly failure: ProofFailure };

/** An error as it crosses the thread border; `log` is there for a LogError. */
export interface ProofFailure {
  readonly message: string;
  readonly log: {
    readonly code: LogErrorCode;
    readonly facts: Readonly<Record<string, string | number>>;
  } | null;
}

/** Bytes of log taken at a time while a block's records are hashed … */
const PIECE_BYTES = 262_144;
/** … and for few of them: what is read beyond them is garbage at once. Larger ones take several turns. */
const RECORD_BYTES = 512;

/** Proofs made in the calling thread. */
export function localProofs(
  reader: SearchableLogReader,
  dataDir: string,
  leaves?: ProveOptions['leaves'],
): ProofSource {
  const tiles = directoryTiles(join(dataDir, 'ledger'));
  const records: RecordsOf = {
    records: (first, count) =>
      reader.fetch(offset(first), {
        maxRecords: count,
        maxBytes: Math.min(PIECE_BYTES, count * RECORD_BYTES),
      }),
    leaves,
  };
  const prover = new Prover({ tiles, ...records, subtrees: directorySubtrees(dataDir) });
  return {
    async prove(at) {
      const result = await prover.prove(at);
      return result.kind === 'proof' ? { kind: 'proof', text: formatProofFile(result.proof) } : result;
    },
    async proveRange(first, last) {
      const result = await prover.proveRange(first, last);
      return result.kind === 'proof' ? { kind: 'proof', text: formatRangeFile(result.proof) } : result;
    },
    proveDevice: (height, device) => prover.proveDevice(height, device),
    provenance: (at) => provenanceOf({ reader, tiles, prover }, at),
    flow: (question) => flowBetween({ tiles, records }, question),
    leaves: async (from, end) => {
      const runs = new LeafRuns();
      const found = [...((await leaves?.(from, end)) ?? [])].sort(([a], [b]) => a - b);
      for (const [at, hash] of found) runs.add(at, hash);
      return runs.runs;
    },
  };
}

const ENTRY = new URL(
  import.meta.url.endsWith('.ts') ? './proof-worker.ts' : './proof-worker.js',
  import.meta.url,
);

/** Proofs made in a worker thread. A thread that fails takes the proofs in work with it; the next proof starts another. */
export class ProofWorker implements ProofSource {
  readonly #init: ProofWorkerInit;
  readonly #waiting = new Map<number, { resolve(answer: unknown): void; reject(error: unknown): void }>();
  #worker: Worker | null = null;
  #nextId = 0;
  #closed = false;

  constructor(init: ProofWorkerInit) {
    this.#init = init;
  }

  prove(at: Offset): Promise<ProofAnswer> {
    return this.#ask({ offset: at });
  }

  proveRange(first: Offset, last: Offset): Promise<RangeAnswer> {
    return this.#ask({ first, last });
  }

  proveDevice(height: number, device: string): Promise<DeviceResult> {
    return this.#ask({ height, device });
  }

  provenance(at: Offset): Promise<ChainAnswer> {
    return this.#ask({ provenance: at });
  }

  flow(question: FlowQuestion): Promise<Flow> {
    return this.#ask({ flow: question });
  }

  leaves(from: number, end: number): Promise<readonly LeafRun[]> {
    return this.#ask({ leavesFrom: from, leavesEnd: end });
  }

  #ask<Answer>(question: ProofQuestion): Promise<Answer> {
    if (this.#closed) return Promise.reject(new LogError('CLOSED', 'the gateway is shutting down'));
    const worker = this.#worker ?? this.#start();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject });
      worker.postMessage({ id, ...question } satisfies ProofRequest);
    });
  }

  #start(): Worker {
    const worker = new Worker(ENTRY, {
      workerData: this.#init,
      name: 'proofs',
      resourceLimits: WORKER_LIMITS,
    });
    worker.unref();
    worker.on('message', (reply: ProofReply) => this.#onReply(reply));
    worker.on('error', (error) => this.#lose(worker, error));
    worker.on('exit', () => this.#lose(worker, new LogError('CLOSED', 'the thread that makes proofs ended')));
    this.#worker = worker;
    return worker;
  }

  #onReply(reply: ProofReply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if ('answer' in reply) waiting?.resolve(reply.answer);
    else waiting?.reject(errorOf(reply.failure));
  }

  #lose(worker: Worker, error: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#worker?.terminate();
  }
}

function errorOf({ message, log }: ProofFailure): Error {
  return log ? new LogError(log.code, message, { facts: { ...log.facts } }) : new Error(message);
}
