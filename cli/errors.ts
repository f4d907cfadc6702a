// The ways a command ends badly, and the exit code of each. Documented in docs/cli.md.

export const EXIT = {
  ok: 0,
  /** The answer is no: an invalid proof, damage found, records lost. */
  negative: 1,
  /** Unusable input: wrong usage, a broken config, a file that is not there. */
  usage: 2,
  /** The command was right but could not be done: directory locked, port taken, disk failed. */
  unable: 3,
  /** A defect of ours. */
  internal: 70,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** An end that is worth one clear message and no stack trace. */
export class CommandError extends Error {
  override name = 'CommandError';
  readonly exitCode: ExitCode;
  readonly hint: string | undefined;

  constructor(
    exitCode: ExitCode,
    message: string,
    options: { hint?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.exitCode = exitCode;
    this.hint = options.hint;
  }
}
