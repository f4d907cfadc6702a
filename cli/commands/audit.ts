// `tidemark audit`: the whole history of a gateway, from its data directory or from a running gateway.
import { type AuditOptions, audit } from '../../ledger/fsck/audit.ts';
import { SourceError } from '../../ledger/fsck/httpsource.ts';
import { formatReport } from '../../ledger/fsck/report.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { Progress } from '../progress.ts';
import { trustOf } from '../trust.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const source =
    invocation.positionals[0] ?? loadConfig(invocation.text('config'), process.env).config.dataDir;
  const isUrl = /^https?:\/\//.test(source);
  const sampleBlocks = invocation.whole('sample', { min: 1, max: 1_000_000_000 });
  // The key of a directory on this machine is worth trusting for that directory; a URL must bring its own.
  const named = invocation.text('policy') !== undefined || invocation.text('key') !== undefined;
  const trust = isUrl && !named ? null : trustOf(invocation, source);
  const progress = new Progress(invocation.flag('json'));
  const options: AuditOptions = {
    policy: trust?.policy,
    gatewayKey: trust?.gatewayKey,
    onProgress: ({ phase, done, total }) => progress.show(`${phase}: ${done} of ${total}`),
    ...(sampleBlocks !== undefined && { records: 'sample' as const, sampleBlocks }),
  };
  const report = await audit(source, options).catch((error: unknown) => {
    if (error instanceof SourceError) throw new CommandError(EXIT.usage, error.message, { cause: error });
    throw error;
  });
  progress.end();
  process.stdout.write(invocation.flag('json') ? `${JSON.stringify(report)}\n` : formatReport(report));
  return report.verdict === 'clean' ? EXIT.ok : EXIT.negative;
}
