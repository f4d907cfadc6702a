// The command line: finds the command, checks its words, runs it, and turns the outcome into an exit code.
import { type CommandSpec, parseInvocation } from './command.ts';
import { COMMANDS, GROUPS } from './commands.ts';
import { nearest } from './config/suggest.ts';
import { CommandError, EXIT, type ExitCode } from './errors.ts';
import { commandHelp, familyHelp, overview } from './help.ts';
import { VERSION } from './version.ts';

export async function run(argv: readonly string[]): Promise<void> {
  // A reader that goes away (`| head`) ends the output, not the program with a stack trace.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(process.exitCode ?? EXIT.ok);
    throw error;
  });
  process.exitCode = await dispatch(argv);
}

async function dispatch(argv: readonly string[]): Promise<ExitCode> {
  try {
    const words = argv[0] === 'help' ? [...argv.slice(1), '--help'] : argv;
    if (words.length === 0 || words[0] === '--help' || words[0] === '-h') {
      process.stdout.write(overview(GROUPS, VERSION));
      return words.length === 0 ? EXIT.usage : EXIT.ok;
    }
    if (words[0] === '--version' || words[0] === '-v') {
      process.stdout.write(`${VERSION}\n`);
      return EXIT.ok;
    }
    const family = familyOf(words[0]!);
    if (family.length > 0 && (words.length === 1 || words[1]!.startsWith('-'))) {
      const isAsked = words[1] === '--help' || words[1] === '-h';
      (isAsked ? process.stdout : process.stderr).write(familyHelp(words[0]!, family));
      return isAsked ? EXIT.ok : EXIT.usage;
    }
    const found = findCommand(words);
    const rest = words.slice(found.name.split(' ').length);
    if (rest.includes('--help') || rest.includes('-h')) {
      process.stdout.write(commandHelp(found));
      return EXIT.ok;
    }
    const invocation = parseInvocation(found, rest);
    const command = await found.load();
    return await command.run(invocation);
  } catch (error) {
    return explain(error);
  }
}

/** The commands of two words that begin with this one, where it is no command itself. */
function familyOf(word: string): readonly CommandSpec[] {
  if (COMMANDS.some(({ name }) => name === word)) return [];
  return COMMANDS.filter(({ name }) => name.startsWith(`${word} `));
}

function findCommand(words: readonly string[]): CommandSpec {
  const two = COMMANDS.find((command) => command.name === words.slice(0, 2).join(' '));
  const one = COMMANDS.find((command) => command.name === words[0]);
  if (two ?? one) return (two ?? one)!;
  const isFamily = familyOf(words[0]!).length > 0;
  const given = isFamily ? `${words[0]} ${words[1]}` : words[0]!;
  const guess = nearest(
    given,
    COMMANDS.map((command) => command.name),
  );
  throw new CommandError(
    EXIT.usage,
    `there is no command \`${given}\`${guess ? `, did you mean \`${guess}\`?` : ''}`,
    { hint: `\`tidemark ${isFamily ? `${words[0]} ` : ''}--help\` lists the commands` },
  );
}

function explain(error: unknown): ExitCode {
  if (error instanceof CommandError) {
    process.stderr.write(`tidemark: ${error.message}\n`);
    if (error.hint) process.stderr.write(`  ${error.hint}\n`);
    return error.exitCode;
  }
  const known = error as { code?: unknown; message?: unknown; hint?: unknown };
  if (error instanceof Error && typeof known.code === 'string') {
    // Errors of the rooms (LogError and its kin) and of the system carry a code; their message is for people.
    process.stderr.write(`tidemark: ${error.message}\n`);
    if (typeof known.hint === 'string') process.stderr.write(`  ${known.hint}\n`);
    return EXIT.unable;
  }
  process.stderr.write(
    `tidemark: unexpected error, please report it\n${error instanceof Error ? error.stack : String(error)}\n`,
  );
  return EXIT.internal;
}
