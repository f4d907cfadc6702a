// The chore behind saver.ts: writes each snapshot it is sent to state.db, and says when it is durable.
import { StateStore } from '../state/state.ts';
import type { Chore } from '../threads/chore.ts';
import type { SaveAnswer, SaveRequest } from './saver.ts';

export function begin(
  { dataDir }: { readonly dataDir: string },
  answer: (answer: SaveAnswer) => void,
): Chore<SaveRequest> {
  const state = new StateStore(dataDir);
  return {
    take: ({ next, state: snapshot }) => {
      try {
        state.saveCursor('admission', next, snapshot);
      } catch (error) {
        answer({ saved: false, message: error instanceof Error ? error.message : String(error) });
        return;
      }
      answer({ saved: true });
    },
    end: () => state.close(),
  };
}
