// Worker entry of the cold tier's stage.
import { runStage } from '../stage/worker.ts';
import type { ColdConfig } from './config.ts';
import { coldStage } from './stage.ts';

await runStage<ColdConfig>(coldStage);
