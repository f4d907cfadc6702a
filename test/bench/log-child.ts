// The processes of `log-read`, one role each: `write` appends until it is killed, `open` times openLog in a fresh
// process and dies without closing, `scan` reads all and says what memory that took. Prints lines of JSON.
import { logConfigSchema } from '../../gateway/log/config.ts';
import { openLog } from '../../gateway/log/log.ts';
import { openReader } from '../../gateway/log/reader.ts';
import { type Offset, offset } from '../../ledger/format/brand.ts';
import { payloads, plant, record } from './telemetry.ts';

const [role, dataDir] = process.argv.slice(2);
const IN_FLIGHT = 256;
/** Acked records after which the parent kills. */
const ENOUGH = 5_000;
const SAMPLE_MS = 20;

const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);

async function write(): Promise<void> {
  const log = await openLog({ dataDir: dataDir!, config: logConfigSchema.parse({}) });
  const units = plant(100);
  const pool = payloads(100, 256);
  let acked = 0;
  const append = () => {
    const at = acked % pool.length;
    log.append(record(units, at % 100, acked, Date.now(), pool[at]!), (error) => {
      if (error) throw error;
      acked += 1;
      if (acked === ENOUGH) say({ acked });
      append();
    });
  };
  for (let i = 0; i < IN_FLIGHT; i++) append();
}

async function open(): Promise<void> {
  const began = performance.now();
  const log = await openLog({ dataDir: dataDir!, config: logConfigSchema.parse({}) });
  const tookMs = performance.now() - began;
  const { unclean, truncatedBytes, damage } = log.recovery;
  say({ tookMs, unclean, truncatedBytes, damaged: damage.length, bytes: log.figures().bytes });
  process.kill(process.pid, 'SIGKILL');
}

async function scan(): Promise<void> {
  const reader = await openReader({ dataDir: dataDir! });
  globalThis.gc?.();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const idle = process.memoryUsage();
  const peak = { rss: 0, external: 0, heapUsed: 0 };
  const sample = () => {
    const now = process.memoryUsage();
    for (const key of ['rss', 'external', 'heapUsed'] as const) peak[key] = Math.max(peak[key], now[key]);
  };
  const timer = setInterval(sample, SAMPLE_MS);
  const began = performance.now();
  let next: Offset = await reader.start();
  const end = await reader.end();
  let records = 0;
  let payloadBytes = 0;
  while (next < end) {
    const found = await reader.fetch(next);
    const last = found.at(-1);
    if (!last) break;
    records += found.length;
    for (const { payload } of found) payloadBytes += payload.length;
    next = offset(last.offset + 1);
  }
  const seconds = (performance.now() - began) / 1_000;
  sample();
  clearInterval(timer);
  await reader.close();
  const above = (key: keyof typeof peak) => (peak[key] - idle[key]) / 2 ** 20;
  say({
    records,
    payloadBytes,
    seconds,
    idleRssMib: idle.rss / 2 ** 20,
    rssAboveMib: above('rss'),
    externalAboveMib: above('external'),
    heapAboveMib: above('heapUsed'),
  });
}

const roles: Record<string, () => Promise<void>> = { write, open, scan };
await roles[role ?? '']!();
