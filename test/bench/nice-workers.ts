// Loaded into a benchmarked process (`--import`): its worker threads give way to the main thread by BENCH_NICE. On Linux a
// priority is a thread's own, as setpriority(2) says under "BUGS"; elsewhere it would be the whole process's, and is left.
import { setPriority } from 'node:os';
import { isMainThread } from 'node:worker_threads';

const nice = Number(process.env.BENCH_NICE);
if (!isMainThread && process.platform === 'linux' && nice > 0) setPriority(0, nice);
