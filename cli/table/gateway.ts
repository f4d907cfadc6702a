// The commands of running a gateway and keeping its data directory, as words. Part of the table in ../commands.ts.
import type { CommandSpec } from '../command.ts';
import { PLACE, SHARED } from './options.ts';

export const GATEWAY_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'serve',
    summary: 'run the gateway',
    usage: '[--config FILE]',
    about:
      'Runs until SIGTERM or SIGINT, then finishes what is in flight and exits 0. Never simulates anything.',
    options: { ...PLACE },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark serve', 'with ./tidemark.yaml, or defaults where there is none'],
      [
        'TIDEMARK_MQTT_PORT=1884 tidemark serve -c /etc/tidemark/tidemark.yaml',
        'one setting from the environment',
      ],
    ],
    load: () => import('../commands/serve.ts'),
  },
  {
    name: 'demo',
    summary: 'run the gateway with a simulated plant of some 40 devices',
    usage: '[--seed N] [--devices N]',
    about:
      'The devices are real clients over MQTT, HTTP and WebSocket; faults are injected from the seed, and the summary line counts those found.',
    options: {
      ...PLACE,
      seed: { type: 'string', value: 'N', about: 'seed of the plant (default 1)' },
      devices: { type: 'string', value: 'N', about: 'number of devices (default 40)' },
    },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark demo', 'then open the address that it prints']],
    load: () => import('../commands/demo.ts'),
  },
  {
    name: 'fsck',
    summary: 'check the files of a data directory',
    usage: '[DIR] [--deep] [--repair]',
    about:
      'Reads with code of its own, not the writer’s. Names file and position of every damage. Changes nothing without --repair. Exit 0 clean (after the repair, if any), 1 damage, 3 --repair while a gateway has the directory.',
    options: {
      repair: {
        type: 'boolean',
        about:
          'cut a torn tail, make indexes and hash tiles again; what is changed is first copied to repair-<time>/ in the directory. Damage is never deleted',
      },
      deep: { type: 'boolean', about: 're-hash every record against the ledger' },
      'skip-cold': SHARED['skip-cold'],
      config: SHARED.config,
      json: SHARED.json,
    },
    positionals: { min: 0, max: 1 },
    examples: [
      ['tidemark fsck --deep --json', 'everything, as data'],
      ['tidemark fsck --repair', 'with the gateway stopped'],
    ],
    load: () => import('../commands/fsck.ts'),
  },
  {
    name: 'backup',
    summary: 'copy a data directory, also while its gateway runs',
    usage: 'DIR [--with-key] [--data-dir DIR]',
    about:
      'The copy is consistent: restored, it starts as after a crash at one moment. A backup already in DIR is brought up to date and only what changed is copied. The private key is left out unless asked for.',
    options: {
      'with-key': { type: 'boolean', about: 'also copy gateway.key: guard the backup like the key itself' },
      ...PLACE,
      json: SHARED.json,
    },
    positionals: { min: 1, max: 1 },
    examples: [['tidemark backup /mnt/usb/gateway-3', 'again every night: only what is new is copied']],
    load: () => import('../commands/backup.ts'),
  },
  {
    name: 'restore',
    summary: 'make a new data directory from a backup',
    usage: 'DIR --data-dir NEW',
    about:
      'Checks every file against its hash. Refuses a target that is not empty. Exit 0 restored, 1 the backup is damaged, 2 no backup or a target in use.',
    options: { 'data-dir': SHARED['data-dir'], json: SHARED.json },
    positionals: { min: 1, max: 1 },
    examples: [
      ['tidemark restore /mnt/usb/gateway-3 --data-dir ./restored', 'then `tidemark audit ./restored`'],
    ],
    load: () => import('../commands/restore.ts'),
  },
  {
    name: 'version',
    summary: 'print the version',
    usage: '[--json]',
    options: { json: SHARED.json },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark version --json', 'with the Node version and the platform']],
    load: () => import('../commands/version.ts'),
  },
];
