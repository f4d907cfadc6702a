// The thread of chores, with real threads: each chore fails alone, and what the thread takes with it is said to all.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type ChoreLink, Chores } from '../../../gateway/threads/chores.ts';

const ENTRY = new URL('./notebook-chore.ts', import.meta.url);
const WAIT = { timeout: 30_000 };

let folder: string;
let chores: Chores;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-chores-'));
  chores = new Chores();
});

afterEach(async () => {
  await chores.close();
  rmSync(folder, { recursive: true });
});

function notebook(name: string, entry = ENTRY) {
  const file = join(folder, name);
  const answers: string[] = [];
  const ends: string[] = [];
  const link: ChoreLink<string> = chores.begin({
    entry,
    init: { file },
    onAnswer: (line: string) => answers.push(line),
    onEnd: (error) => ends.push(error.message),
  });
  return { link, answers, ends, lines: () => readFileSync(file, 'utf8').split('\n').slice(0, -1) };
}

test('a chore told to end does what it was sent before, and closes its files', async () => {
  const book = notebook('a');
  for (const line of ['1', '2', '3']) book.link.send(line);
  await book.link.close();
  expect(book.lines()).toEqual(['begun', '1', '2', '3', 'ended']);
  expect(book.answers).toEqual(['1', '2', '3']);
  expect(book.ends).toEqual([]);
  book.link.send('too late');
  await book.link.close();
});

test('one that throws, and one that cannot begin, leave the others alone', async () => {
  const sound = notebook('sound');
  const broken = notebook('broken');
  const missing = notebook('missing', new URL('./no-such-chore.ts', import.meta.url));
  const nowhere = notebook('no/such/folder');
  broken.link.send('throw');
  broken.link.send('never written');
  sound.link.send('1');
  await vi.waitFor(() => {
    expect(broken.ends).toEqual(['the pencil broke']);
    expect(missing.ends).toEqual([expect.stringContaining('no-such-chore')]);
    expect(nowhere.ends).toEqual([expect.stringContaining('ENOENT')]);
  }, WAIT);
  sound.link.send('2');
  await sound.link.close();
  expect(sound.answers).toEqual(['1', '2']);
  expect(sound.ends).toEqual([]);
  expect(broken.lines()).toEqual(['begun', 'ended']);
  // Its owner may begin anew, in the same thread.
  const again = notebook('broken');
  again.link.send('1');
  await again.link.close();
  expect(again.answers).toEqual(['1']);
});

test.each([
  ['exit', 'the thread has ended'],
  ['throw later', 'the desk broke'],
])(
  'a chore that takes the thread with it (%s) ends all, and the next one has a new thread',
  async (word, why) => {
    const books = [notebook('a'), notebook('b')];
    books[0]!.link.send(word);
    await vi.waitFor(() => {
      for (const { ends } of books) expect(ends).toEqual([why]);
    }, WAIT);
    await Promise.all(books.map(({ link }) => link.close()));
    const again = notebook('a');
    again.link.send('1');
    await again.link.close();
    expect(again.answers).toEqual(['1']);
    expect(again.ends).toEqual([]);
  },
);

test('who waits for the end of a chore whose thread dies is let go', async () => {
  const book = notebook('a');
  book.link.send('exit');
  await book.link.close();
  expect(book.lines()).toEqual(['begun']);
});
