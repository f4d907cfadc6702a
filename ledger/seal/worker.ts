// Worker entry of the sealer stage. Nothing but the start: the body is in stage.ts.
import { runStage } from '../../gateway/stage/worker.ts';
import type { SealerConfig } from './config.ts';
import { sealStage } from './stage.ts';

await runStage<SealerConfig>((context) => sealStage(context));
