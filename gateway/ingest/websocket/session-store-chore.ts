// The chore behind session-store.ts: writes each batch it is sent to websocket.db; answers what went wrong, or null.
import type { Chore } from '../../threads/chore.ts';
import { type Change, SessionDatabase } from './session-database.ts';

export function begin(
  { dataDir }: { readonly dataDir: string },
  answer: (problem: string | null) => void,
): Chore<readonly Change[]> {
  let database: SessionDatabase | null = null;
  return {
    take: (changes) => {
      try {
        database ??= SessionDatabase.open(dataDir);
        database.apply(changes);
      } catch (error) {
        answer(error instanceof Error ? error.message : String(error));
        return;
      }
      answer(null);
    },
    end: () => database?.close(),
  };
}
