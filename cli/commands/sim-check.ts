// `tidemark sim check`: the truth ledger of a run against what a gateway, or its data directory, holds.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { verdictText } from '../../firmware-sim/run-report.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { judgeGateway, loopback } from '../sim-judge.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const given = invocation.positionals[0]!;
  const truthPath = existsSync(given) && statSync(given).isDirectory() ? join(given, 'truth') : given;
  if (!existsSync(truthPath))
    throw new CommandError(EXIT.usage, `there is no truth ledger ${truthPath}`, {
      hint: 'give the folder that `tidemark sim run` wrote, or the file `truth` in it',
    });
  const dataDir = invocation.text('data-dir');
  const httpUrl = loopback(invocation.text('url') ?? 'http://127.0.0.1:8080', 'url');
  const verdict = await judgeGateway(
    invocation,
    dataDir === undefined ? { httpUrl, truthPath } : { dataDir, truthPath },
  );
  process.stdout.write(invocation.flag('json') ? `${JSON.stringify(verdict)}\n` : verdictText(verdict));
  return verdict.ok ? EXIT.ok : EXIT.negative;
}
