// A chore for chores.test.ts: writes each line to its file, and says so; has words that make it fail, or its thread.
import { appendFileSync } from 'node:fs';
import type { Chore } from '../../../gateway/threads/chore.ts';

export function begin({ file }: { file: string }, answer: (line: string) => void): Chore<string> {
  appendFileSync(file, 'begun\n');
  return {
    take: (line) => {
      if (line === 'throw') throw new Error('the pencil broke');
      if (line === 'exit') process.exit();
      if (line === 'throw later')
        setImmediate(() => {
          throw new Error('the desk broke');
        });
      appendFileSync(file, `${line}\n`);
      answer(line);
    },
    end: () => appendFileSync(file, 'ended\n'),
  };
}
