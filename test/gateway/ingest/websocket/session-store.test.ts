// Sessions are written whatever happens to the thread that writes them, and to the file for a while.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { Session } from '../../../../gateway/ingest/websocket/session.ts';
import { SessionStore } from '../../../../gateway/ingest/websocket/session-store.ts';
import { Chores } from '../../../../gateway/threads/chores.ts';
import { tempFolder } from '../../log/records.ts';

const NOTEBOOK = new URL('../../threads/notebook-chore.ts', import.meta.url);
const WAIT = { timeout: 30_000, interval: 50 };
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

function opened() {
  const dataDir = tempFolder();
  const chores = new Chores();
  const problems: string[] = [];
  const store = new SessionStore(chores, dataDir, (detail) => problems.push(detail));
  let closed = false;
  const close = async () => {
    if (!closed) await store.close(5_000);
    closed = true;
  };
  ends.push(() => chores.close(), close);
  const kept = () => SessionStore.read(dataDir).map(({ owner, name, last }) => `${owner} ${name} ${last}`);
  return { dataDir, chores, problems, store, close, kept };
}

test('what changed is written, in the end too', async () => {
  const { store, close, kept } = opened();
  store.put('ada', 'one', new Session('one', 7));
  await vi.waitFor(() => expect(kept()).toEqual(['ada one 7']), WAIT);
  store.put('ada', 'one', null);
  store.put('ada', 'two', new Session('two', 2));
  await close();
  expect(kept()).toEqual(['ada two 2']);
});

test('a thread that ended is begun anew, and nothing that changed meanwhile is lost', async () => {
  const { dataDir, chores, problems, store, kept } = opened();
  store.put('ada', 'one', new Session('one', 1));
  await vi.waitFor(() => expect(kept()).toEqual(['ada one 1']), WAIT);
  const other = chores.begin<object, string, string>({
    entry: NOTEBOOK,
    init: { file: join(dataDir, 'notes') },
    onAnswer: () => {},
    onEnd: () => {},
  });
  other.send('exit');
  store.put('ada', 'one', new Session('one', 2));
  await vi.waitFor(() => expect(problems).toEqual(['the thread has ended']), WAIT);
  store.put('ada', 'two', new Session('two', 3));
  await vi.waitFor(() => expect(kept()).toEqual(['ada one 2', 'ada two 3']), WAIT);
});

test('a file that cannot be written is tried again, and gets what is newest', async () => {
  const { dataDir, problems, store, kept } = opened();
  const inTheWay = join(dataDir, 'websocket.db');
  mkdirSync(inTheWay);
  store.put('ada', 'one', new Session('one', 1));
  await vi.waitFor(() => expect(problems.length).toBeGreaterThan(0), WAIT);
  store.put('ada', 'one', new Session('one', 2));
  rmSync(inTheWay, { recursive: true });
  await vi.waitFor(() => expect(kept()).toEqual(['ada one 2']), WAIT);
});

test('the end waits for no file that cannot be written', async () => {
  const { dataDir, problems, store, close } = opened();
  mkdirSync(join(dataDir, 'websocket.db'));
  store.put('ada', 'one', new Session('one', 1));
  await close();
  expect(problems).toHaveLength(1);
});
