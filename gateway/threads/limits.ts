// Owns how large the young heap of a worker thread may grow. Without it V8 lets the garbage of each thread come to 48 MiB
// and more before it looks: most of what a gateway with several stages would take at rest and while a reader scans.
import type { ResourceLimits } from 'node:worker_threads';

export const WORKER_LIMITS: ResourceLimits = { maxYoungGenerationSizeMb: 6 };
