// Holds the log to its promises across processes: one writer at a time, and nothing acknowledged is lost by kill -9.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { openReader } from '../../../gateway/log/reader.ts';
import { open, put, readAll, record, tempFolder } from './records.ts';

const WRITER = fileURLToPath(new URL('./writer-process.ts', import.meta.url));

function startWriter(dataDir: string): { child: ChildProcess; lines: AsyncIterable<string> } {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', WRITER, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return { child, lines: createInterface({ input: child.stdout! }) };
}

test('a second process is refused while the first lives, and let in as soon as it is killed', async () => {
  const dataDir = tempFolder(tmpdir());
  const { child, lines } = startWriter(dataDir);
  for await (const line of lines) if (line.startsWith('acked')) break;
  await expect(open({ dataDir })).rejects.toMatchObject({
    code: 'LOCKED',
    facts: { pid: child.pid },
    hint: /another|own/,
  });
  const reader = await openReader({ dataDir });
  expect((await reader.fetch(0 as never, { maxRecords: 1, maxWaitMs: 5000 })).length).toBe(1);
  await reader.close();
  child.kill('SIGKILL');
  await once(child, 'exit');
  const log = await open({ dataDir });
  expect(log.recovery.unclean).toBe(true);
  expect(await put(log, record(0))).toBe(log.recovery.at);
});

test('kill -9 under load, three times over: every acked record is there, once, at its offset', async () => {
  const dataDir = tempFolder(tmpdir());
  let acked = 0;
  for (let round = 0; round < 3; round++) {
    const { child, lines } = startWriter(dataDir);
    let heard = 0;
    const seen = (async () => {
      for await (const line of lines) {
        if (!line.startsWith('acked ')) continue;
        acked = Math.max(acked, Number(line.slice(6)) + 1);
        heard += 1;
        if (heard === 40 + round * 25) child.kill('SIGKILL');
      }
    })();
    await once(child, 'exit');
    await seen;
  }
  const log = await open({ dataDir });
  expect(log.recovery).toMatchObject({ unclean: true, damage: [] });
  const records = await readAll(await log.openReader());
  expect(acked).toBeGreaterThan(500);
  expect(records.length).toBeGreaterThanOrEqual(acked);
  // The writer numbers its records by the offset it expects, so order and uniqueness show in one comparison.
  expect(records.every((each, index) => each.offset === index && each.sequence === index)).toBe(true);
});
