// Retention's thread: looks, plans, waits for the sealer, removes; reads segments here so that devices never wait for it.
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { realFs } from '../log/fs.ts';
import { logFolder } from '../log/layout.ts';
import type { RolledSegment } from '../log/types.ts';
import { StateStore } from '../state/state.ts';
import { giveWay } from '../threads/priority.ts';
import { ledgerBlocks } from './blocks.ts';
import { type CheckResult, RetentionEngine } from './engine.ts';
import type { RetentionInit, RetentionMessage, RetentionReply, SegmentCall } from './messages.ts';

/** How often is looked whether the sealer has declared what is planned. */
const DECLARED_MS = 200;

const port = parentPort;
if (!port) throw new Error('this entry runs only as a worker thread');
giveWay();
const init = workerData as RetentionInit;
const send = (message: RetentionMessage) => port.postMessage(message);
const stop = new AbortController();
const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
let nextId = 0;

port.on('message', (reply: RetentionReply) => {
  if (reply.type === 'stop') {
    stop.abort();
    return;
  }
  const entry = waiting.get(reply.id);
  waiting.delete(reply.id);
  if (reply.type === 'answer') entry?.resolve(reply.value);
  else entry?.reject(new Error(reply.message));
});

function call<T>(segmentCall: SegmentCall): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const id = nextId++;
    waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
    send({ type: 'call', id, call: segmentCall });
  });
}

const state = new StateStore(init.dataDir);
const engine = new RetentionEngine({
  config: init.config,
  fs: realFs,
  folder: logFolder(init.dataDir),
  indexIntervalBytes: init.indexIntervalBytes,
  clock: Date.now,
  segments: {
    list: () => call<readonly RolledSegment[]>({ method: 'list' }),
    dropOldest: (baseOffset) => call<number>({ method: 'dropOldest', baseOffset }),
    replace: (baseOffset, drafts) => call<void>({ method: 'replace', baseOffset, drafts }),
  },
  state,
  consumers: init.consumers,
  blocks: ledgerBlocks(init.dataDir),
  log: (level, message, facts) => send({ type: 'log', level, message, facts }),
});

const PAUSE_MS = { declare: DECLARED_MS, worked: 0, idle: init.config.checkIntervalMs };

while (!stop.signal.aborted) {
  let result: CheckResult = 'idle';
  try {
    result = await engine.check();
    send({ type: 'figures', figures: { ...engine.figures, lastError: null } });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    send({ type: 'figures', figures: { ...engine.figures, lastError: reason } });
    send({
      type: 'log',
      level: 'warn',
      message: `retention could not go on and tries again: ${reason}`,
      facts: {},
    });
  }
  await sleep(PAUSE_MS[result], undefined, { signal: stop.signal }).catch(() => undefined);
}
state.close();
port.close();
