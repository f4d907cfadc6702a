// A model stage's worker thread: only starts the body.
import { runStage } from '../gateway/stage/worker.ts';
import { modelStage } from './stage.ts';

await runStage(modelStage());
