// `tidemark fsck`: is every byte of a data directory what it must be?
import { fsck } from '../../ledger/fsck/fsck.ts';
import { formatReport } from '../../ledger/fsck/report.ts';
import { coldAccessOf } from '../cold-access.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { expectDataDir } from '../data-dir.ts';
import { EXIT, type ExitCode } from '../errors.ts';
import { Progress } from '../progress.ts';
import { type RepairReport, repairDataDir } from '../repair.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const config = loadConfig(invocation.text('config'), process.env).config;
  const dataDir = invocation.positionals[0] ?? config.dataDir;
  expectDataDir(dataDir, 'name the data directory, or the --config that does', ['log', 'ledger']);
  const repaired = invocation.flag('repair')
    ? await repairDataDir(dataDir, config.log.indexIntervalBytes, Date.now())
    : null;
  const progress = new Progress(invocation.flag('json'));
  const report = await fsck(dataDir, {
    deep: invocation.flag('deep'),
    cold: coldAccessOf(invocation, config, dataDir),
    onProgress: ({ phase, file, count }) => progress.show(`${phase}: ${file}, ${count}`),
  });
  progress.end();
  if (invocation.flag('json')) process.stdout.write(`${JSON.stringify({ ...report, ...repaired })}\n`);
  else process.stdout.write((repaired ? repairText(repaired) : '') + formatReport(report));
  return report.verdict === 'clean' ? EXIT.ok : EXIT.negative;
}

function repairText({ repairs, ledgerNote }: RepairReport): string {
  const lines = repairs.map(({ file, what, saved }) => {
    return `repaired    ${file}: ${what}${saved ? `; as it was: ${saved}` : ''}\n`;
  });
  if (lines.length === 0) lines.push('repaired    nothing: there was nothing that can be made again\n');
  if (ledgerNote !== null) lines.push(`ledger      not repaired: ${ledgerNote}\n`);
  return lines.join('');
}
