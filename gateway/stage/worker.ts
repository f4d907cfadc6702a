// The worker-thread side of a stage: opens this thread's own reader and state, wires appends to the ingest
// thread, and runs the body. Holds no policy: what to read and when to save the cursor is the body's business.
import { parentPort, workerData } from 'node:worker_threads';
import { type Offset, offset } from '../../ledger/format/brand.ts';
import type { RecordInput } from '../../ledger/format/record.ts';
import { openReader } from '../log/reader.ts';
import { LogError } from '../log/types.ts';
import { StateStore } from '../state/state.ts';
import { giveWay } from '../threads/priority.ts';
import { collectOnceAtRest } from '../threads/start-garbage.ts';
import type { HostMessage, StageInit, StageMessage } from './messages.ts';
import type { LossTotals, StageBody, StageContext } from './types.ts';

/** Call once at the top level of a stage's worker entry file. */
export async function runStage<Config>(body: StageBody<Config>): Promise<void> {
  const port = parentPort;
  if (!port) throw new Error('a stage entry runs only as a worker thread');
  const init = workerData as StageInit<Config>;
  const send = (message: StageMessage) => port.postMessage(message);
  const stop = new AbortController();
  const waiting = new Map<number, { resolve: (first: Offset) => void; reject: (error: unknown) => void }>();
  let nextId = 0;
  let losses: LossTotals = { refused: {}, dropped: {} };

  port.on('message', (message: HostMessage) => {
    if (message.type === 'stop') {
      stop.abort();
      return;
    }
    if (message.type === 'losses') {
      losses = message.totals;
      return;
    }
    const entry = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.type === 'appended') entry?.resolve(offset(message.first));
    else entry?.reject(new LogError(message.code, message.message));
  });

  const appendAll = (records: readonly RecordInput[]) =>
    new Promise<Offset>((resolve, reject) => {
      const id = nextId++;
      waiting.set(id, { resolve, reject });
      send({ type: 'append', id, records });
    });

  const state = new StateStore(init.dataDir);
  const reader = await openReader({ dataDir: init.dataDir, durableEnd: init.durableEnd });
  const context: StageContext<Config> = {
    name: init.name,
    config: init.config,
    dataDir: init.dataDir,
    reader,
    appender: { appendAll },
    state,
    signal: stop.signal,
    publish: (topic, payload) => send({ type: 'publish', topic, payload }),
    losses: () => losses,
    report: (figures) => send({ type: 'figures', figures }),
    log: (level, message, facts) => send({ type: 'log', level, message, facts: facts ?? {} }),
  };
  giveWay();
  collectOnceAtRest();
  try {
    await body(context);
  } finally {
    await reader.close();
    state.close();
    port.close();
  }
}
