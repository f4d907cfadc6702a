// Owns who gives way where there are more threads at work than processors: those that no device waits for, a little.
import { constants, getPriority, setPriority } from 'node:os';

/** A third of the processor time of a thread that does not give way, where both want it. */
const GIVES_WAY = 5;

/**
 * Call in a worker. On Linux a niceness is a thread's own (setpriority(2), "BUGS"); elsewhere it would be the whole process's, and
 * is left as it is.
 */
export function giveWay(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(0, Math.min(getPriority(0) + GIVES_WAY, constants.priority.PRIORITY_LOW));
  } catch {
    // Not allowed here: all threads are equal, as they were.
  }
}
