// The thread behind session-store.ts: writes each batch it is sent to sessions.db, and says when it is durable.
import { parentPort, workerData } from 'node:worker_threads';
import { SessionDatabase } from './session-database.ts';
import type { Change, StoreAnswer } from './session-store.ts';

const { dataDir } = workerData as { dataDir: string };
let database: SessionDatabase | null = null;
parentPort!.on('message', (changes: readonly Change[]) => {
  let answer: StoreAnswer = { stored: true };
  try {
    database ??= new SessionDatabase(dataDir);
    database.apply(changes);
  } catch (error) {
    answer = { stored: false, message: error instanceof Error ? error.message : String(error) };
  }
  parentPort!.postMessage(answer);
});
