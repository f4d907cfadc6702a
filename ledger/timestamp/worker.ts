// Worker entry of the timestamp stage. Nothing but the start: the body is in stage.ts.
import { runStage } from '../../gateway/stage/worker.ts';
import type { TimestampConfig } from './config.ts';
import { timestampStage } from './stage.ts';

await runStage<TimestampConfig>((context) => timestampStage(context));
