// The chore that keeps key indexes: entry only, the work is key-indexer.ts.
import type { Chore } from '../threads/chore.ts';
import { realFs } from './fs.ts';
import { type KeyIndexerInit, keepKeyIndexes } from './key-indexer.ts';
import { logFolder } from './layout.ts';

export function begin(
  { dataDir, durableEnd }: KeyIndexerInit,
  answer: (problem: string) => void,
): Chore<never> {
  const stop = new AbortController();
  const kept = keepKeyIndexes(realFs, logFolder(dataDir), durableEnd, stop.signal, answer).catch(
    (error: Error) => answer(error.message),
  );
  return {
    take: () => {},
    end: () => {
      stop.abort();
      return kept;
    },
  };
}
