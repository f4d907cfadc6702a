// The Sparkplug stage's worker thread: only starts the body.
import { runStage } from '../stage/worker.ts';
import { sparkplugStage } from './stage.ts';

await runStage(sparkplugStage);
