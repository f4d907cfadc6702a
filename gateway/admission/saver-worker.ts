// The thread behind saver.ts: writes each snapshot it is sent to state.db, and says when it is durable.
import { parentPort, workerData } from 'node:worker_threads';
import { StateStore } from '../state/state.ts';
import type { SaveAnswer, SaveRequest } from './saver.ts';

const { dataDir } = workerData as { dataDir: string };
const state = new StateStore(dataDir);
parentPort!.on('message', (request: SaveRequest) => {
  let answer: SaveAnswer = { saved: true };
  try {
    state.saveCursor('admission', request.next, request.state);
  } catch (error) {
    answer = { saved: false, message: error instanceof Error ? error.message : String(error) };
  }
  parentPort!.postMessage(answer);
});
