// The help texts, made from the command table so that they cannot differ from what is parsed.
import type { CommandSpec } from './command.ts';
import type { GROUPS } from './commands.ts';

const pad = (
  rows: readonly (readonly [string, string])[],
  width = Math.max(...rows.map(([left]) => left.length)),
) => rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n');

export function overview(groups: typeof GROUPS, version: string): string {
  const width = Math.max(...groups.flatMap(({ commands }) => commands.map(({ name }) => name.length)));
  const sections = groups.map(
    ({ title, commands }) =>
      `${title}:\n${pad(
        commands.map(({ name, summary }) => [name, summary]),
        width,
      )}`,
  );
  return `tidemark ${version}: an edge gateway for telemetry that can be proven

usage: tidemark COMMAND [options]

${sections.join('\n\n')}

  tidemark COMMAND --help    options and examples of one command

Exit codes: 0 done, 1 the answer is no (invalid proof, damage, loss), 2 unusable input, 3 could not be done, 70 a defect.
`;
}

/** `tidemark device`: the commands that begin so. */
export function familyHelp(word: string, commands: readonly CommandSpec[]): string {
  return `usage: tidemark ${word} ${commands.map(({ name }) => name.slice(word.length + 1)).join('|')}

${pad(commands.map(({ name, summary }) => [name, summary]))}

  tidemark COMMAND --help    options and examples of one command
`;
}

export function commandHelp(command: CommandSpec): string {
  const options = Object.entries(command.options).map(([name, option]): [string, string] => {
    const short = option.short === undefined ? '    ' : `-${option.short}, `;
    return [
      `${short}--${name}${option.type === 'string' ? ` ${option.value ?? 'VALUE'}` : ''}`,
      option.about,
    ];
  });
  return `tidemark ${command.name}: ${command.summary}

usage: tidemark ${command.name} ${command.usage}
${command.about ? `\n${command.about}\n` : ''}
${pad([...options, ['-h, --help', 'this text']])}

examples:
${command.examples.map(([line, what]) => `  ${line}\n      ${what}`).join('\n')}
`;
}
