// Gives a benchmark a folder of its own on a real disk and removes it at the end, also after Ctrl-C. Refuses memory
// file systems: a sync there costs nothing, and every figure would be a lie.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { mountOf } from './machine.ts';

const IN_MEMORY: ReadonlySet<string> = new Set(['tmpfs', 'ramfs', 'devtmpfs']);

export interface Scratch {
  readonly path: string;
  remove(): void;
}

/** `where`: the folder to put it in; otherwise the system's temporary folder, or /var/tmp where that is in memory. */
export function scratch(where?: string): Scratch {
  if (where !== undefined) mkdirSync(where, { recursive: true });
  const base = (where === undefined ? [tmpdir(), '/var/tmp'] : [resolve(where)]).find(
    (folder) => !IN_MEMORY.has(mountOf(folder).type),
  );
  if (base === undefined)
    throw new Error('only memory file systems found: name a folder on a disk with --in DIR');
  const path = mkdtempSync(join(base, 'tidemark-bench-'));
  const remove = () => rmSync(path, { recursive: true, force: true });
  process.once('exit', remove);
  const stop = () => process.exit(130);
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  return {
    path,
    remove: () => {
      process.off('exit', remove);
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
      remove();
    },
  };
}
