// The thread behind session-store.ts: writes each batch it is sent to websocket.db.
import { parentPort, workerData } from 'node:worker_threads';
import { type Change, SessionDatabase } from './session-database.ts';

const { dataDir } = workerData as { dataDir: string };
let database: SessionDatabase | null = null;
parentPort!.on('message', (changes: readonly Change[]) => {
  let problem: string | null = null;
  try {
    database ??= SessionDatabase.open(dataDir);
    database.apply(changes);
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
  }
  parentPort!.postMessage(problem);
});
