// The overload soak: 1,000 connections that send three times what the gateway is set to take, then as fast as TCP lets
// them. Memory stays flat, refusals are explicit and counted, no acknowledged record is lost, and it recovers at once.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logConfigSchema } from '../../gateway/log/config.ts';
import { openLog } from '../../gateway/log/log.ts';
import { offset } from '../../ledger/format/brand.ts';
import { type Child, startChild } from '../bench/children.ts';
import { type Gateway, startGateway } from '../support/processes.ts';

const CONNECTIONS = 1_000;
const MIB = 1024 * 1024;
/**
 * V8 lets its heap grow to some multiple of what lives before it collects in earnest; from then on it must stay. Half a
 * minute is enough for that, so shorter runs are held to the greatest size alone.
 */
const MEMORY_MAX_MIB = 1_024;
const GROWTH_FACTOR = 1.15;
const GROWTH_MIB = 32;
const RECOVERY_MS = 5_000;

interface Counts {
  readonly connected: number;
  readonly sent: number;
  readonly acked: number;
  readonly heldBack: number;
  readonly refused: Record<string, number>;
  readonly closed: number;
  readonly ended?: true;
}

interface Phase {
  readonly name: string;
  /** Records per second offered; 0: as fast as they are taken. */
  readonly rate: number;
  readonly seconds: number;
  /** Records per second the gateway is set to take; null: what it can. */
  readonly sustained: number | null;
}

/** False when a promise was broken; says which. `seconds`: of the first phase; the flood takes a quarter of it. */
export async function soakOverload(seconds: number, sustained: number): Promise<boolean> {
  const phases: Phase[] = [
    { name: 'three times the rate', rate: 3 * sustained, seconds, sustained },
    {
      name: 'as fast as TCP takes it',
      rate: 0,
      seconds: Math.max(5, Math.round(seconds / 4)),
      sustained: null,
    },
  ];
  let sound = true;
  for (const phase of phases) {
    const failures = await runPhase(phase);
    for (const failure of failures) console.error(`soak: overload, ${phase.name}: ${failure}`);
    sound &&= failures.length === 0;
  }
  return sound;
}

async function runPhase(phase: Phase): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-overload-'));
  const limit =
    phase.sustained === null ? '' : `ingest: { rate: { total: { perSecond: ${phase.sustained} } } }\n`;
  const gateway = await startGateway({
    dataDir: join(folder, 'data'),
    yaml: `windows: []\nmodels: []\nlogLevel: error\n${limit}`,
  });
  const acked = join(folder, 'acked');
  const clients = startChild(
    '../soak/overload-clients.ts',
    [
      ...['--mqtt', String(gateway.mqttPort), '--http', String(gateway.httpPort), '--acked', acked],
      ...[
        '--connections',
        String(CONNECTIONS),
        '--rate',
        String(phase.rate),
        '--seconds',
        String(phase.seconds),
      ],
    ],
    { timeoutMs: (phase.seconds + 120) * 1_000 },
  );
  try {
    const offered = phase.rate === 0 ? 'as much as it takes' : `${phase.rate} records/s`;
    console.log(`soak: overload, ${phase.name}: ${CONNECTIONS} connections, ${offered}, ${phase.seconds} s`);
    const { memory, counts } = await watch(gateway, clients);
    const recoveredMs = await recovery(gateway);
    const refusedByGateway = await refusals(gateway);
    const { code } = await gateway.kill('SIGTERM');
    const audit = await readBack(join(folder, 'data'), acked);
    const refused = Object.values(counts.refused).reduce((sum, count) => sum + count, 0);
    console.log(
      `soak: ${counts.sent} sent, ${counts.acked} acknowledged, ${refused} refused ${JSON.stringify(counts.refused)}, ${counts.heldBack} held back, ${counts.closed} connections closed; the gateway counts ${JSON.stringify(refusedByGateway)}; ${audit.stored} records in the log; ${Math.max(...memory)} MiB at most; answers again after ${recoveredMs ?? 'more than 5000'} ms`,
    );
    const quarter = Math.floor(memory.length / 4);
    const third = Math.max(...memory.slice(2 * quarter, 3 * quarter));
    const last = Math.max(...memory.slice(3 * quarter));
    const failures = [
      code !== 0 && `the gateway ended with ${code}`,
      counts.acked === 0 && 'nothing was acknowledged',
      audit.missing.length > 0 &&
        `${audit.missing.length} acknowledged records are missing: ${audit.missing.slice(0, 5).join(', ')} …`,
      phase.sustained !== null && refused === 0 && 'nothing was refused: there was no overload',
      phase.sustained !== null && !refusedByGateway['rate-limited'] && 'the gateway counts no refusal',
      Object.keys(counts.refused).some((code) => code.includes('without')) && 'a 429 without Retry-After',
      memory.length >= 60 &&
        last > third * GROWTH_FACTOR + GROWTH_MIB &&
        `memory grew from ${third} to ${last} MiB in the last quarter`,
      Math.max(...memory) > MEMORY_MAX_MIB &&
        `${Math.max(...memory)} MiB of memory, more than ${MEMORY_MAX_MIB}`,
      recoveredMs === null && `no answer within ${RECOVERY_MS} ms after the overload`,
    ].filter((failure) => failure !== false);
    if (failures.length === 0) rmSync(folder, { recursive: true, force: true });
    else console.error(`soak: the data directory is kept in ${folder}`);
    return failures;
  } finally {
    await clients.end();
    await gateway.kill('SIGKILL');
  }
}

/** MiB. */
function residentMemory(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Math.round((Number(match?.[1] ?? 0) * 1024) / MIB);
}

/** Memory each second, from when all are connected until the clients have ended. */
async function watch(gateway: Gateway, clients: Child): Promise<{ memory: number[]; counts: Counts }> {
  const memory: number[] = [];
  let counts = await clients.next<Counts>();
  let before = { acked: 0, ms: performance.now() };
  const timer = setInterval(() => {
    memory.push(residentMemory(gateway.child.pid!));
    if (memory.length % 10 !== 0) return;
    const now = { acked: counts.acked, ms: performance.now() };
    const perSecond = Math.round(((now.acked - before.acked) * 1_000) / (now.ms - before.ms));
    const refused = Object.values(counts.refused).reduce((sum, count) => sum + count, 0);
    console.log(
      `soak: ${memory.length} s: ${memory.at(-1)} MiB, ${perSecond} acknowledged/s, ${refused} refused, ${counts.closed} closed so far`,
    );
    before = now;
  }, 1_000);
  try {
    while (!counts.ended) counts = await clients.next<Counts>();
  } finally {
    clearInterval(timer);
  }
  return { memory, counts };
}

/** Ms until a record is acknowledged within a quarter of a second three times in a row; null: not within 5 s. */
async function recovery(gateway: Gateway): Promise<number | null> {
  const began = performance.now();
  let prompt = 0;
  while (performance.now() - began < RECOVERY_MS) {
    const sent = performance.now();
    const response = await fetch(`${gateway.url}/api/v1/ingest/probe/one/level`, {
      method: 'POST',
      body: '1',
    });
    prompt = response.status === 202 && performance.now() - sent < 250 ? prompt + 1 : 0;
    if (prompt === 3) return Math.round(performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return null;
}

async function refusals(gateway: Gateway): Promise<Record<string, number>> {
  const status = (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as {
    rejected: Record<string, number>;
  };
  return Object.fromEntries(Object.entries(status.rejected).filter(([, count]) => count > 0));
}

/** What was acknowledged and is not in the log, as `client#sequence`. */
async function readBack(dataDir: string, file: string): Promise<{ stored: number; missing: string[] }> {
  const bytes = readFileSync(file);
  const numbers = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const acked = new Map<string, Set<number>>();
  for (let at = 0; at < numbers.length; ) {
    const end = at + 2 + numbers[at + 1]!;
    acked.set(`c-${numbers[at]}`, new Set(numbers.subarray(at + 2, end)));
    at = end;
  }
  const log = await openLog({ dataDir, config: logConfigSchema.parse({}) });
  const reader = await log.openReader();
  const end = await reader.end();
  let stored = 0;
  for (let next = await reader.start(); next < end; ) {
    const records = await reader.fetch(next, { maxBytes: 4 * MIB });
    for (const { device, sequence } of records) {
      stored += 1;
      if (sequence !== null) acked.get(device)?.delete(sequence);
    }
    next = offset(records.at(-1)!.offset + 1);
  }
  await reader.close();
  await log.close();
  const missing = [...acked].flatMap(([device, sequences]) =>
    [...sequences].map((each) => `${device}#${each}`),
  );
  return { stored, missing };
}
