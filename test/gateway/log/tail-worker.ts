// Owns the worker half of the tailing test: reads from 0 to `total`, and reports what came out of order or too early.
import { parentPort, workerData } from 'node:worker_threads';
import { openReader } from '../../../gateway/log/reader.ts';
import { DurableEnd } from '../../../gateway/log/signal.ts';
import type { Offset } from '../../../ledger/format/brand.ts';

const { dataDir, durableEnd, total } = workerData as {
  dataDir: string;
  durableEnd: SharedArrayBuffer;
  total: number;
};
const reader = await openReader({ dataDir, durableEnd });
const end = new DurableEnd(durableEnd);
let next = 0;
let wrong: string | null = null;
let early = 0;
while (next < total) {
  const records = await reader.fetch(next as Offset, { maxWaitMs: 10_000, maxRecords: 1 + (next % 50) });
  if (records.length === 0) break;
  for (const record of records) {
    if (record.offset !== next || record.sequence !== next)
      wrong ??= `${record.offset}/${record.sequence} instead of ${next}`;
    if (record.offset >= end.get()) early += 1;
    next += 1;
  }
}
await reader.close();
parentPort!.postMessage({ count: next, wrong, early });
