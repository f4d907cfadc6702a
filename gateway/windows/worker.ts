// The windows stage's worker thread: only starts the body.
import { runStage } from '../stage/worker.ts';
import { windowsStage } from './stage.ts';

await runStage(windowsStage());
