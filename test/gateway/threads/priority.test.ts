// On Linux the threads that no device waits for give way to those that answer; asked of the kernel, of the real gateway.
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test, vi } from 'vitest';
import { startGateway } from '../../support/processes.ts';
import { tempFolder } from '../log/records.ts';

/** Names and nice values of a process's threads, the main one first: its id is the process's. */
function threads(pid: number): [name: string, nice: number][] {
  const ids = readdirSync(`/proc/${pid}/task`).map(Number);
  return ids
    .sort((a, b) => a - b)
    .map((id) => {
      const stat = readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8');
      const end = stat.lastIndexOf(')');
      return [stat.slice(stat.indexOf('(') + 1, end), Number(stat.slice(end + 2).split(' ')[16])];
    });
}

test.skipIf(process.platform !== 'linux')('workers give way, the ingest thread does not', async () => {
  const gateway = await startGateway({ dataDir: tempFolder(), yaml: 'retention: { maxAgeMs: 3600000 }' });
  try {
    const pid = gateway.child.pid!;
    const own = threads(pid)[0]![1];
    await vi.waitFor(
      () => {
        const lower = threads(pid).filter(([, nice]) => nice === Math.min(own + 5, 19));
        expect(lower.map(([name]) => name).sort()).toEqual(
          expect.arrayContaining(['sealer', 'windows'].map((name) => expect.stringContaining(name))),
        );
        expect(lower.length).toBeGreaterThanOrEqual(4);
      },
      { timeout: 30_000, interval: 100 },
    );
    expect(threads(pid)[0]![1]).toBe(own);
  } finally {
    await gateway.kill();
  }
});
