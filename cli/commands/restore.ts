// `tidemark restore`: a new data directory from a backup, every file checked.
import { resolve } from 'node:path';
import { BackupError } from '../../gateway/backup/manifest.ts';
import { restore } from '../../gateway/backup/restore.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { Progress } from '../progress.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const named = invocation.text('data-dir');
  if (named === undefined)
    throw new CommandError(EXIT.usage, 'name the new data directory: --data-dir NEW', {
      hint: 'see `tidemark restore --help`',
    });
  const source = resolve(invocation.positionals[0]!);
  const dataDir = resolve(named);
  const progress = new Progress(invocation.flag('json'));
  const onProgress = (path: string) => progress.show(`restoring ${path}`);
  const manifest = await restore({ source, dataDir, onProgress }).catch((error: unknown) => {
    if (!(error instanceof BackupError)) throw error;
    const exitCode = error.code === 'BACKUP_DAMAGED' ? EXIT.negative : EXIT.usage;
    throw new CommandError(exitCode, error.message, { cause: error, hint: error.hint });
  });
  progress.end();
  const { log, checkpointSize, createdMs, withKey } = manifest;
  if (invocation.flag('json')) {
    process.stdout.write(`${JSON.stringify({ dataDir, createdMs, log, checkpointSize, withKey })}\n`);
    return EXIT.ok;
  }
  const lines = [
    `restored    ${dataDir}, as of ${new Date(createdMs).toISOString()}`,
    `records     offsets ${log.start} to ${log.end - 1}, ledger of ${checkpointSize} blocks`,
    ...(withKey
      ? []
      : [
          'key         not in this backup: put gateway.key into the directory before the first start, or nothing will be sealed',
        ]),
    'note        If the gateway went on after this backup was made, its ledger has since signed more than is here. Going on',
    '            from here would sign a second history of the same heights, which everyone who saw the first can prove.',
    '            Then keep this directory to read and prove from, and give the gateway a new origin and data directory.',
    '',
  ];
  process.stdout.write(lines.join('\n'));
  return EXIT.ok;
}
