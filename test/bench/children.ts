// Runs a benchmark's other processes: this Node, one script, lines of JSON on its standard output. Ends what it started.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface Child {
  readonly process: ChildProcess;
  /** The next line, parsed. Rejects when the process ends without one. */
  next<T>(): Promise<T>;
  /** Kills it if it still runs and waits for its end. */
  end(signal?: NodeJS.Signals): Promise<void>;
}

export interface ChildOptions {
  readonly nodeOptions?: readonly string[];
  /** Killed after this long whatever it does. */
  readonly timeoutMs: number;
}

export function startChild(script: string, args: readonly string[], options: ChildOptions): Child {
  const child = spawn(
    process.execPath,
    [...(options.nodeOptions ?? []), join(import.meta.dirname, script), ...args],
    { stdio: ['ignore', 'pipe', 'inherit'], timeout: options.timeoutMs, killSignal: 'SIGKILL' },
  );
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    process: child,
    next: async <T>() => {
      const line = await lines.next();
      if (line.done)
        throw new Error(`${script} ${args[0] ?? ''} ended (${child.signalCode ?? child.exitCode}) too early`);
      return JSON.parse(line.value) as T;
    },
    end: async (signal = 'SIGKILL') => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill(signal);
      await once(child, 'exit');
    },
  };
}
