// Judging a simulated run from the command line: where the records come from, which windows were configured, and the
// audit of the ledger beside the fleet's own truth.
import { setTimeout as pause } from 'node:timers/promises';
import { type HeldRecord, heldOverHttp } from '../firmware-sim/held.ts';
import { type JudgeOptions, judge } from '../firmware-sim/judge.ts';
import type { SinkCollector } from '../firmware-sim/judge-sink.ts';
import type { JudgedRun } from '../firmware-sim/run-report.ts';
import { TruthFileError } from '../firmware-sim/truth.ts';
import { audit } from '../ledger/fsck/audit.ts';
import { SegmentRecords } from '../ledger/fsck/recordsource.ts';
import type { Invocation } from './command.ts';
import { loadConfig } from './config/load.ts';
import { CommandError, EXIT } from './errors.ts';
import { fetchFrom } from './http.ts';
import { trustOf } from './trust.ts';

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;
const CATCH_UP_MS = 120_000;
const NOT_NOW: ReadonlySet<number> = new Set([409, 429, 503]);
const PROOF_TRIES = 20;
const PROOF_RETRY_MS = 500;

/** The simulator is a load generator: it is never pointed at anyone else's machine. */
export function loopback(text: string, option: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || !LOOPBACK.test(url.hostname))
    throw new CommandError(
      EXIT.usage,
      `--${option} takes an address on this machine, such as ${option === 'url' ? 'http://127.0.0.1:8080' : `${option}://127.0.0.1:1883`}, not ${text}`,
    );
  return text.replace(/\/+$/, '');
}

type Place = { readonly truthPath: string } & ({ readonly httpUrl: string } | { readonly dataDir: string });

/** Compares, recomputes the windows where the gateway's configuration is known (--config), and audits the ledger. */
export async function judgeGateway(
  invocation: Invocation,
  place: Place,
  sink: SinkCollector | null = null,
): Promise<JudgedRun> {
  const configPath = invocation.text('config');
  const windows = configPath === undefined ? null : loadConfig(configPath, process.env).config.windows;
  const proofs = invocation.whole('proofs', { min: 0, max: 1_000_000 });
  const common = { truthPath: place.truthPath, windows, sink, ...(proofs !== undefined && { proofs }) };
  try {
    if ('dataDir' in place) {
      const records = await judge({ ...common, held: (from) => heldOnDisk(place.dataDir, from) });
      const trust = trustOf(invocation, place.dataDir);
      const ledger = await audit(place.dataDir, { policy: trust?.policy, gatewayKey: trust?.gatewayKey });
      return { records, ledger: ledger.verdict, ok: records.ok && ledger.verdict === 'clean' };
    }
    const gatewayKey = await caughtUp(place.httpUrl);
    const records = await judge({ ...common, ...overHttp(place.httpUrl, gatewayKey) });
    const ledger = await audit(place.httpUrl, { gatewayKey });
    return { records, ledger: ledger.verdict, ok: records.ok && ledger.verdict === 'clean' };
  } catch (error) {
    if (error instanceof TruthFileError) throw new CommandError(EXIT.usage, error.message, { cause: error });
    throw error;
  }
}

function overHttp(
  httpUrl: string,
  gatewayKey: string,
): Pick<JudgeOptions, 'held' | 'proofOf' | 'gatewayKey'> {
  return {
    gatewayKey,
    held: (from) => heldOverHttp(httpUrl, from),
    proofOf: async (offset) => {
      for (let tries = 1; ; tries += 1) {
        const response = await fetchFrom(httpUrl, `/api/v1/records/${offset}/proof`);
        if (response.ok) return response.text();
        // Not sealed yet, or busy: both pass.
        if (!NOT_NOW.has(response.status) || tries >= PROOF_TRIES) return null;
        await pause(PROOF_RETRY_MS);
      }
    },
  };
}

interface Status {
  readonly publicKey: string;
  readonly log: { readonly end: number };
  readonly ledger: { readonly sealed: number };
  readonly stages: Readonly<Record<string, { readonly lag?: number }>>;
}

/** Waits until the stages have read what the log holds now; the gateway's verifier key. */
async function caughtUp(httpUrl: string): Promise<string> {
  const deadline = performance.now() + CATCH_UP_MS;
  for (let wanted = -1; ; ) {
    const status = (await (await fetchFrom(httpUrl, '/api/v1/status')).json()) as Status;
    if (wanted < 0) wanted = status.log.end;
    const reading = Object.entries(status.stages).filter(
      ([name]) => name === 'windows' || name.startsWith('model') || name.startsWith('forwarder:'),
    );
    const behind = reading.some(([, { lag }]) => status.log.end - (lag ?? 0) < wanted);
    if ((status.ledger.sealed >= wanted && !behind) || performance.now() > deadline) return status.publicKey;
    await pause(200);
  }
}

async function* heldOnDisk(dataDir: string, from: number): AsyncGenerator<readonly HeldRecord[]> {
  const source = new SegmentRecords(dataDir);
  const { end } = await source.bounds();
  for await (const records of source.read(from, end)) {
    yield records.map((record) => ({
      ...record,
      headers: record.headers.map(([name, value]) => [name, Buffer.from(value).toString()] as const),
    }));
  }
}
