// The thread behind chores.ts: hosts chores side by side. One that throws is ended and says so; the others go on.
import { parentPort } from 'node:worker_threads';
import type { BeginChore, Chore, ChoreRequest, FromChore, ToChore } from './chore.ts';
import { giveWay } from './priority.ts';
import { collectOnceAtRest } from './start-garbage.ts';

const host = parentPort;
if (!host) throw new Error('runs only as a worker thread');

async function run({ entry, init, port }: ChoreRequest): Promise<void> {
  const send = (message: FromChore) => port.postMessage(message);
  let chore: Chore<unknown> | null = null;
  const fail = async (error: unknown) => {
    send({ failed: error instanceof Error ? error.message : String(error) });
    const failed = chore;
    chore = null;
    // What went wrong first has been said.
    await Promise.resolve(failed?.end()).catch(() => undefined);
    port.close();
  };
  try {
    const { begin } = (await import(entry)) as { begin: BeginChore<unknown, unknown, unknown> };
    chore = begin(init, (answer) => send({ answer }));
  } catch (error) {
    await fail(error);
    return;
  }
  port.on('message', async (request: ToChore) => {
    if (chore === null) return;
    try {
      if ('message' in request) chore.take(request.message);
      else {
        await chore.end();
        port.close();
      }
    } catch (error) {
      await fail(error);
    }
  });
}

host.on('message', (request: ChoreRequest) => void run(request));
giveWay();
collectOnceAtRest();
