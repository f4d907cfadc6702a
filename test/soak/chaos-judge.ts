// The judgement after the chaos: the truth ledger against the gateway over HTTP, the audit, an orderly stop, fsck, and the
// truth ledger once more against the disk.
import { setTimeout as pause } from 'node:timers/promises';
import { loadConfig } from '../../cli/config/load.ts';
import { heldOverHttp } from '../../firmware-sim/held.ts';
import { judge } from '../../firmware-sim/judge.ts';
import type { SinkCollector } from '../../firmware-sim/judge-sink.ts';
import type { JudgedRun } from '../../firmware-sim/run-report.ts';
import { tidemark } from '../support/processes.ts';
import type { ChaosGateway } from './chaos-gateway.ts';

const CATCH_UP_MS = 180_000;
const PROOFS = 300;

export interface ChaosJudgement {
  readonly run: JudgedRun;
  readonly failures: readonly string[];
}

interface Options {
  readonly gateway: ChaosGateway;
  readonly dataDir: string;
  readonly truthPath: string;
  readonly configPath: string;
  readonly sink: SinkCollector;
  readonly policyFile: string;
}

interface Status {
  readonly publicKey: string;
  readonly log: { readonly end: number };
  readonly ledger: { readonly sealed: number; readonly problem: string | null; readonly final: boolean };
  readonly stages: Readonly<
    Record<string, { readonly lag?: number; readonly running: boolean; readonly lastError: string | null }>
  >;
}

export async function judgeChaos({
  gateway,
  dataDir,
  truthPath,
  configPath,
  sink,
  policyFile,
}: Options): Promise<ChaosJudgement> {
  const failures: string[] = [];
  const status = await caughtUp(gateway.url);
  if (status.behind.length > 0)
    failures.push(`not caught up ${CATCH_UP_MS / 1000} s after the last fault: ${status.behind.join(', ')}`);
  const { windows } = loadConfig(configPath, {}).config;
  const records = await judge({
    truthPath,
    windows,
    sink,
    gatewayKey: status.publicKey,
    proofs: PROOFS,
    held: (from) => heldOverHttp(gateway.url, from),
    proofOf: async (offset) => {
      const response = await fetch(`${gateway.url}/api/v1/records/${offset}/proof`);
      return response.ok ? response.text() : null;
    },
  });
  const audit = await tidemark(['audit', dataDir, '--policy', policyFile, '--json']);
  const ledger =
    audit.code === 0
      ? 'clean'
      : (JSON.parse(audit.stdout || '{"verdict":"none"}') as { verdict: string }).verdict;
  if (audit.code !== 0)
    failures.push(`the audit is not clean: ${audit.stdout.slice(0, 4_000)}${audit.stderr}`);
  const stopped = await gateway.stop();
  if (stopped !== 0)
    failures.push(`the orderly stop ended with ${stopped}: ${gateway.output().slice(-2_000)}`);
  const fsck = await tidemark(['fsck', dataDir, '--deep', '--json']);
  if (fsck.code !== 0) failures.push(`fsck found damage: ${fsck.stdout.slice(0, 4_000)}${fsck.stderr}`);
  const disk = await tidemark(['sim', 'check', truthPath, '--data-dir', dataDir]);
  if (disk.code !== 0) failures.push(`the check from disk failed: ${disk.stdout}${disk.stderr}`);
  if (!records.ok) failures.push('the truth ledger and the gateway do not agree: see above');
  return { run: { records, ledger, ok: records.ok && audit.code === 0 }, failures };
}

/** Waits until sealer, windows, models and forwarder have read everything; names those that have not in time. */
async function caughtUp(url: string): Promise<Status & { behind: string[] }> {
  const deadline = performance.now() + CATCH_UP_MS;
  for (;;) {
    const response = await fetch(`${url}/api/v1/status`).catch(() => null);
    if (response?.ok) {
      const status = (await response.json()) as Status;
      const behind = Object.entries(status.stages)
        .filter(([name, { lag, running }]) => name !== 'retention' && (!running || (lag ?? 1) > 0))
        .map(([name, { lag, lastError }]) => `${name} (lag ${lag}, ${lastError ?? 'no error'})`);
      if (!status.ledger.final) behind.push('the newest checkpoint is not final');
      if (status.ledger.problem !== null) behind.push(`ledger: ${status.ledger.problem}`);
      if (behind.length === 0 || performance.now() > deadline) return { ...status, behind };
    } else if (performance.now() > deadline) throw new Error(`${url} does not answer`);
    await pause(200);
  }
}
