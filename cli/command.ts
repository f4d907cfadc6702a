// What a command is to the command line: its words, options and examples. Parsing only; the work is in commands/.
import { parseArgs } from 'node:util';
import { nearest } from './config/suggest.ts';
import { CommandError, EXIT, type ExitCode } from './errors.ts';

export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** How the value is named in the help, e.g. FILE. */
  readonly value?: string;
  readonly about: string;
}

export interface CommandSpec {
  /** One or two words, e.g. 'serve' or 'config check'. */
  readonly name: string;
  readonly summary: string;
  /** What stands after the name in the usage line. */
  readonly usage: string;
  /** Longer explanation, a paragraph at most. */
  readonly about?: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly positionals: { readonly min: number; readonly max: number };
  readonly examples: readonly (readonly [command: string, what: string])[];
  /** Loaded only when the command runs, so that `tidemark verify` starts no database. */
  load(): Promise<{ run(invocation: Invocation): Promise<ExitCode> }>;
}

/** The checked words of one call. */
export class Invocation {
  readonly positionals: readonly string[];
  readonly #values: Readonly<Record<string, string | boolean | undefined>>;

  constructor(values: Record<string, string | boolean | undefined>, positionals: readonly string[]) {
    this.#values = values;
    this.positionals = positionals;
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === 'string' ? value : undefined;
  }

  /** @throws CommandError when the option is not a whole number within the bounds */
  whole(name: string, bounds: { min: number; max: number }): number | undefined {
    const value = this.#number(name, /^(0|[1-9]\d*)$/, 'a whole number', bounds);
    return value;
  }

  /** @throws CommandError when the option is not a decimal number within the bounds */
  decimal(name: string, bounds: { min: number; max: number }): number | undefined {
    return this.#number(name, /^\d+(\.\d+)?$/, 'a number', bounds);
  }

  #number(
    name: string,
    form: RegExp,
    what: string,
    bounds: { min: number; max: number },
  ): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (!form.test(text) || !(value >= bounds.min && value <= bounds.max)) {
      throw new CommandError(
        EXIT.usage,
        `--${name} takes ${what} from ${bounds.min} to ${bounds.max}, not ${JSON.stringify(text)}`,
      );
    }
    return value;
  }
}

export function parseInvocation(spec: CommandSpec, argv: readonly string[]): Invocation {
  const options: Record<string, { type: 'string' | 'boolean'; short?: string }> = {};
  for (const [name, option] of Object.entries(spec.options)) {
    options[name] =
      option.short === undefined ? { type: option.type } : { type: option.type, short: option.short };
  }
  let parsed: { values: Record<string, string | boolean | undefined>; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new CommandError(EXIT.usage, wrongWords(error as Error, Object.keys(options)), {
      hint: `see \`tidemark ${spec.name} --help\``,
    });
  }
  const { min, max } = spec.positionals;
  if (parsed.positionals.length < min || parsed.positionals.length > max) {
    throw new CommandError(EXIT.usage, `usage: tidemark ${spec.name} ${spec.usage}`.trimEnd(), {
      hint: `see \`tidemark ${spec.name} --help\``,
    });
  }
  return new Invocation(parsed.values, parsed.positionals);
}

function wrongWords(error: Error, known: readonly string[]): string {
  const unknown = /^Unknown option '(?:--?)([^']+)'/.exec(error.message)?.[1];
  if (unknown === undefined) return error.message.split('. ')[0]!;
  const guess = unknown.length > 1 ? nearest(unknown, known) : null;
  const given = unknown.length > 1 ? `--${unknown}` : `-${unknown}`;
  return `there is no option ${given}${guess ? `, did you mean --${guess}?` : ''}`;
}
