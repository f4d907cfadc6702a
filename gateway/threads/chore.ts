// What a chore is to the thread that hosts it (chores.ts): work on small files that nobody waits for. Its room writes the
// entry module, which exports `begin`; it keeps its own file and answers for its own failures.
import type { MessagePort } from 'node:worker_threads';

export interface Chore<Message> {
  /** Throws where the chore cannot go on: its owner is told, the other chores of the thread go on. */
  take(message: Message): void;
  /** Told to end: resolves once nothing of it is running and its files are closed. */
  end(): void | Promise<void>;
}

export type BeginChore<Init, Message, Answer> = (
  init: Init,
  answer: (answer: Answer) => void,
) => Chore<Message>;

/** What the thread is sent for each chore. */
export interface ChoreRequest {
  readonly entry: string;
  readonly init: unknown;
  readonly port: MessagePort;
}

export type ToChore = { readonly message: unknown } | { readonly end: true };
export type FromChore = { readonly answer: unknown } | { readonly failed: string };
