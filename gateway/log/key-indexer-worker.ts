// The thread that keeps key indexes: entry only, the work is key-indexer.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { realFs } from './fs.ts';
import { type KeyIndexerInit, keepKeyIndexes } from './key-indexer.ts';
import { logFolder } from './layout.ts';

const port = parentPort;
if (!port) throw new Error('runs only as a worker thread');
const { dataDir, durableEnd } = workerData as KeyIndexerInit;
const stop = new AbortController();
port.once('message', () => stop.abort());
await keepKeyIndexes(realFs, logFolder(dataDir), durableEnd, stop.signal, (problem) =>
  port.postMessage(problem),
);
port.close();
