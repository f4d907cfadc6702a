// `tidemark backup`: a consistent copy of a data directory, also while its gateway runs.
import { resolve } from 'node:path';
import { backup } from '../../gateway/backup/backup.ts';
import { BackupError } from '../../gateway/backup/manifest.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { expectDataDir, withDataDir } from '../data-dir.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { Progress } from '../progress.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const { dataDir } = withDataDir(loadConfig(invocation.text('config'), process.env), invocation).config;
  expectDataDir(dataDir, 'give --data-dir, or the --config that names it');
  const target = resolve(invocation.positionals[0]!);
  const withKey = invocation.flag('with-key');
  const progress = new Progress(invocation.flag('json'));
  const onProgress = (path: string) => progress.show(`copying ${path}`);
  const report = await backup({ dataDir, target, withKey, nowMs: Date.now(), onProgress }).catch(
    (error: unknown) => {
      if (error instanceof BackupError && error.code === 'TARGET_NOT_EMPTY')
        throw new CommandError(EXIT.usage, error.message, { cause: error, hint: error.hint });
      throw error;
    },
  );
  progress.end();
  const { manifest, copiedFiles, copiedBytes, keptFiles } = report;
  const { log, checkpointSize, createdMs } = manifest;
  if (invocation.flag('json')) {
    const facts = { target, createdMs, log, checkpointSize, copiedFiles, copiedBytes, keptFiles };
    process.stdout.write(`${JSON.stringify({ ...facts, withKey: manifest.withKey })}\n`);
    return EXIT.ok;
  }
  process.stdout.write(
    [
      `backup      ${target}`,
      `records     offsets ${log.start} to ${log.end - 1}, ledger of ${checkpointSize} blocks`,
      `copied      ${copiedFiles} files, ${copiedBytes} bytes; ${keptFiles} files were there already`,
      manifest.withKey
        ? 'key         included: whoever has this backup can sign in the gateway’s name'
        : 'key         NOT included: keep a copy of gateway.key elsewhere, or use --with-key',
      '',
    ].join('\n'),
  );
  return EXIT.ok;
}
