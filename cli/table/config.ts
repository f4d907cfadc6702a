// The commands of configuration, as words. Part of the table in ../commands.ts.
import type { CommandSpec } from '../command.ts';
import { SHARED, WHERE } from './options.ts';

export const CONFIG_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'config check',
    summary: 'check the configuration; errors name file, line and field',
    usage: '[FILE | --config FILE]',
    options: { config: SHARED.config, json: SHARED.json },
    positionals: { min: 0, max: 1 },
    examples: [['tidemark config check /etc/tidemark/tidemark.yaml', 'exit 0 when it is right, 2 when not']],
    load: () => import('../commands/config-check.ts'),
  },
  {
    name: 'config show',
    summary: 'print the configuration in force, defaults and environment included',
    usage: '[--config FILE]',
    options: { config: SHARED.config, json: SHARED.json },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark config show > tidemark.yaml', 'a complete file to start from']],
    load: () => import('../commands/config-show.ts'),
  },
  {
    name: 'config schema',
    summary: 'print every key with type, default, meaning and environment variable',
    usage: '[--json]',
    options: { json: { type: 'boolean', about: 'print a JSON Schema, for editors' } },
    positionals: { min: 0, max: 0 },
    examples: [
      [
        'tidemark config schema --json > tidemark.schema.json',
        'completion in editors that know YAML schemas',
      ],
    ],
    load: () => import('../commands/config-schema.ts'),
  },
  {
    name: 'config apply',
    summary: 'let the running gateway read its configuration again',
    usage: '[--url URL]',
    about:
      'The same as SIGHUP, and tells what came of it: what counts now, and what waits for a restart. A file that cannot be used changes nothing; its lines are named. Exit 0 done, 2 the configuration cannot be used, 3 no gateway there.',
    options: { ...WHERE },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark config check && tidemark config apply', 'no record and no connection is lost']],
    load: () => import('../commands/config-apply.ts'),
  },
];
