// `tidemark audit --watch`: the audit again and again, from where the last clean one ended, and an alarm for what is new.
// An alarm is a line on standard output, a POST to the webhook, and the exit code.
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuditReport } from '../ledger/fsck/audit.ts';
import type { Finding } from '../ledger/fsck/findings.ts';
import { SourceError } from '../ledger/fsck/httpsource.ts';
import { EXIT, type ExitCode } from './errors.ts';

export interface WatchOptions {
  readonly source: string;
  readonly everyMs: number;
  readonly webhook: string | undefined;
  readonly signal: AbortSignal;
  /** One audit, from where the last clean one ended. */
  readonly audit: () => Promise<AuditReport>;
  /** No block sealed for so long is an alarm. */
  readonly staleMs: number;
  readonly say: (line: string) => void;
}

export interface Alarm {
  readonly code: Finding['code'] | 'SOURCE_UNREACHABLE' | 'BLOCKS_STALE' | 'CLEAN_AGAIN';
  readonly message: string;
}

/** A source that fails once may be restarting; so many times in a row is an alarm. */
const UNREACHABLE_AFTER = 3;
const WEBHOOK_TIMEOUT_MS = 10_000;
const WEBHOOK_TRIES = 3;

/**
 * Without a webhook ends with the first alarm (exit 1); with one goes on until the signal, and says at the end whether there
 * was any.
 */
export async function watch(options: WatchOptions): Promise<ExitCode> {
  const { source, webhook, signal, say, everyMs } = options;
  let standing = new Set<string>();
  let raised = false;
  let unreachable = 0;
  while (!signal.aborted) {
    let alarms: Alarm[];
    try {
      const report = await options.audit();
      unreachable = 0;
      alarms = alarmsOf(report, options.staleMs);
      const size = report.checkpoint?.size ?? 0;
      say(
        `${report.verdict === 'clean' ? 'clean' : 'PROBLEMS'}: ${size} blocks, ${size - report.since} of them new`,
      );
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      unreachable += 1;
      say(`not reachable (${unreachable}): ${error.message}`);
      alarms =
        unreachable >= UNREACHABLE_AFTER ? [{ code: 'SOURCE_UNREACHABLE', message: error.message }] : [];
      if (alarms.length === 0) {
        await pause(Math.min(everyMs, 5_000), signal);
        continue;
      }
    }
    const fresh = alarms.filter(({ code }) => !standing.has(code));
    const over = standing.size > 0 && alarms.length === 0;
    standing = new Set(alarms.map(({ code }) => code));
    for (const { code, message } of fresh) say(`ALARM ${code}: ${message}`);
    if (fresh.length > 0) raised = true;
    const news: Alarm[] = over
      ? [{ code: 'CLEAN_AGAIN', message: 'the audit finds nothing wrong any more' }]
      : fresh;
    if (webhook !== undefined && news.length > 0) await post(webhook, { source, alarms: news }, say, signal);
    if (webhook === undefined && raised) return EXIT.negative;
    await pause(everyMs, signal);
  }
  return raised ? EXIT.negative : EXIT.ok;
}

function alarmsOf(report: AuditReport, staleMs: number): Alarm[] {
  const alarms: Alarm[] = [];
  for (const { code, severity, message } of report.findings)
    if (severity === 'error' && !alarms.some((alarm) => alarm.code === code)) alarms.push({ code, message });
  const ageMs = report.lastSealedMs === null ? 0 : Date.now() - report.lastSealedMs;
  if (ageMs > staleMs)
    alarms.push({
      code: 'BLOCKS_STALE',
      message: `the newest block was sealed ${Math.round(ageMs / 1000)} s ago by the gateway's clock`,
    });
  return alarms;
}

/** Tells the webhook, trying again a few times; that it cannot be told is said, not thrown. */
async function post(
  url: string,
  body: { readonly source: string; readonly alarms: readonly Alarm[] },
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 1; attempt <= WEBHOOK_TRIES && !signal.aborted; attempt += 1) {
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ kind: 'tidemark-audit-alarm', at: new Date().toISOString(), ...body }),
        signal: AbortSignal.timeout(WEBHOOK_TIMEOUT_MS),
      });
      await response.body?.cancel();
      if (response.ok) return;
      say(`the webhook answers ${response.status}`);
    } catch (error) {
      say(`the webhook cannot be reached: ${(error as Error).message}`);
    }
    await pause(attempt * 1_000, signal);
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);
