// `tidemark audit`: the whole history of a gateway, from its data directory or from a running gateway.
import { writeFileSync } from 'node:fs';
import { type AuditOptions, type AuditReport, audit } from '../../ledger/fsck/audit.ts';
import { formatHtmlReport } from '../../ledger/fsck/htmlreport.ts';
import { isHttpUrl, SourceError, showToken } from '../../ledger/fsck/httpsource.ts';
import { formatReport } from '../../ledger/fsck/report.ts';
import { readState, writeState } from '../audit-state.ts';
import { coldAccessOf } from '../cold-access.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { Progress } from '../progress.ts';
import { stampedCheckpoints } from '../stamped.ts';
import { trustOf } from '../trust.ts';
import { watch } from '../watch.ts';

/** Of the gateway's default heartbeat: a newest block older than this is an alarm of --watch. */
const STALE_HEARTBEATS = 5;

export async function run(invocation: Invocation): Promise<ExitCode> {
  const given = invocation.positionals[0] ?? '';
  const isUrl = isHttpUrl(given);
  const config = isUrl ? null : loadConfig(invocation.text('config'), process.env).config;
  const source = given || config!.dataDir;
  const token = process.env.TIDEMARK_TOKEN;
  if (isUrl && token !== undefined) showToken(source, token);
  const sampleBlocks = invocation.whole('sample', { min: 0, max: 1_000_000_000 });
  const heartbeatMs = (invocation.whole('heartbeat', { min: 1, max: 86_400 }) ?? 60) * 1_000;
  const device = invocation.text('device');
  const stateFile = invocation.text('state');
  if (device !== undefined && stateFile !== undefined)
    throw new CommandError(
      EXIT.usage,
      'give --device or --state, not both: a device is followed from the start',
    );
  // The key of a directory on this machine is worth trusting for that directory; a URL must bring its own.
  const named = invocation.text('policy') !== undefined || invocation.text('key') !== undefined;
  const trust = isUrl && !named ? null : trustOf(invocation, source);
  const progress = new Progress(invocation.flag('json') || invocation.flag('watch'));
  let state = stateFile === undefined ? undefined : readState(stateFile);
  const options = async (): Promise<AuditOptions> => ({
    // Before the history's head is read: one that is behind a timestamp has gone back.
    stamps: await stampedCheckpoints(invocation, source, state?.position.size ?? 0),
    policy: trust?.policy,
    gatewayKey: trust?.gatewayKey,
    device,
    heartbeatMs,
    cold: config ? coldAccessOf(invocation, config, source) : undefined,
    state,
    onState: (next) => {
      state = next;
      if (stateFile !== undefined) writeState(stateFile, next);
    },
    onProgress: ({ phase, done, total }) => progress.show(`${phase}: ${done} of ${total}`),
    blocksOnly: invocation.flag('blocks-only'),
    ...(sampleBlocks !== undefined && { records: 'sample' as const, sampleBlocks }),
  });
  const once = async () => audit(source, await options());
  if (invocation.flag('watch')) return watching(invocation, source, heartbeatMs, once);
  const report = await once().catch((error: unknown) => {
    if (!(error instanceof SourceError)) throw error;
    const isAway = isUrl && error.code === 'SOURCE_UNREACHABLE';
    throw new CommandError(isAway ? EXIT.unable : EXIT.usage, error.message, {
      hint: error.hint,
      cause: error,
    });
  });
  progress.end();
  const file = invocation.text('report');
  if (file !== undefined) writeFileSync(file, textOf(report, file));
  process.stdout.write(invocation.flag('json') ? `${JSON.stringify(report)}\n` : formatReport(report));
  return report.verdict === 'clean' ? EXIT.ok : EXIT.negative;
}

function textOf(report: AuditReport, file: string): string {
  if (file.endsWith('.html')) return formatHtmlReport(report, Date.now());
  return file.endsWith('.json') ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report);
}

async function watching(
  invocation: Invocation,
  source: string,
  heartbeatMs: number,
  once: () => Promise<AuditReport>,
): Promise<ExitCode> {
  const webhook = invocation.text('webhook');
  if (webhook !== undefined && !isHttpUrl(webhook))
    throw new CommandError(
      EXIT.usage,
      `--webhook takes an http or https address, not ${JSON.stringify(webhook)}`,
    );
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  return watch({
    source,
    webhook,
    everyMs: (invocation.whole('every', { min: 1, max: 86_400 }) ?? 60) * 1_000,
    staleMs: STALE_HEARTBEATS * heartbeatMs,
    signal: stop.signal,
    audit: once,
    say: (line) => process.stdout.write(`${new Date().toISOString()} ${line}\n`),
  });
}
