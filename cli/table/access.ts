// The commands of administration, as words. Part of the table in ../commands.ts.
import type { CommandSpec } from '../command.ts';
import { WHERE } from './options.ts';

const EXPIRES = {
  type: 'string',
  value: 'TIME',
  about: 'the secret ends after this, e.g. 90d (default: never)',
} as const;
const PUBLISH = {
  type: 'string',
  value: 'PATTERNS',
  about: 'topic patterns it may send to, with commas; %device% is its device (default: access.roles)',
} as const;
const SUBSCRIBE = {
  type: 'string',
  value: 'PATTERNS',
  about: 'topic patterns it may hear (default: access.roles)',
} as const;
const PASSWORD_STDIN = {
  type: 'boolean',
  about: 'read a password of your own from standard input instead of making one',
} as const;

export const ACCESS_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'device add',
    summary: 'add a device and print its password or token, once',
    usage: 'NAME [--bearer | --certificate | --password-stdin] [--publish P,P]',
    about:
      'Works on the running gateway of the data directory, on a stopped one, or with --url. Recorded in the log, without the secret. MQTT: user NAME with the password. HTTP: Basic, or Bearer with --bearer.',
    options: {
      bearer: { type: 'boolean', about: 'make a bearer token instead of a password' },
      certificate: {
        type: 'boolean',
        about: 'no secret: a TLS client certificate of this name (CN or SAN) is enough',
      },
      fingerprint: {
        type: 'string',
        value: 'SHA256',
        about: 'no secret: only the client certificate with this fingerprint (several with commas)',
      },
      'password-stdin': PASSWORD_STDIN,
      device: { type: 'string', value: 'ID', about: 'whose records it sends (default: NAME)' },
      'any-device': { type: 'boolean', about: 'it sends for many devices; its topics or messages name them' },
      publish: PUBLISH,
      subscribe: SUBSCRIBE,
      expires: EXPIRES,
      ...WHERE,
    },
    positionals: { min: 1, max: 1 },
    examples: [
      [
        'tidemark device add pump-1',
        'then: mosquitto_pub -u pump-1 -P PASSWORD -q 1 -t plant/pump-1/level -m 1',
      ],
      [
        'tidemark device add line-7 --any-device --publish "plant/line-7/#"',
        'a concentrator for many devices',
      ],
      ['tidemark device add pump-2 --certificate', 'with mqtt.tls and its client certificates'],
    ],
    load: () => import('../commands/device-add.ts'),
  },
  {
    name: 'device list',
    summary: 'list devices, people and programs with their rights',
    usage: '[--json]',
    options: { ...WHERE },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark device list --json', 'with every pattern and the ids of the secrets; never a secret'],
    ],
    load: () => import('../commands/device-list.ts'),
  },
  {
    name: 'device revoke',
    summary: 'end everything of a name; its open connections are closed',
    usage: 'NAME',
    about:
      'Also for names that only a certificate or an issuer of JSON Web Tokens vouches for: they are refused from now on.',
    options: { ...WHERE },
    positionals: { min: 1, max: 1 },
    examples: [
      ['tidemark device revoke pump-1', 'add it again with `tidemark device add pump-1`'],
      ['tidemark device revoke jwt:alice', 'a person who comes with a JSON Web Token'],
    ],
    load: () => import('../commands/device-revoke.ts'),
  },
  {
    name: 'device rotate',
    summary: 'make a new secret; the old one still counts for a while',
    usage: 'NAME [--overlap TIME] [--bearer | --password-stdin]',
    options: {
      overlap: {
        type: 'string',
        value: 'TIME',
        about: 'how long the old one counts, e.g. 12h (default 24h); 0: not at all',
      },
      bearer: { type: 'boolean', about: 'make a bearer token, whatever it had' },
      'password-stdin': PASSWORD_STDIN,
      expires: EXPIRES,
      ...WHERE,
    },
    positionals: { min: 1, max: 1 },
    examples: [['tidemark device rotate pump-1 --overlap 7d', 'a week to bring the new one to the device']],
    load: () => import('../commands/device-rotate.ts'),
  },
  {
    name: 'device import',
    summary: 'add many devices from a CSV file',
    usage: 'FILE --out FILE',
    about:
      'All or none. The first line names the columns: name, and any of role, device, publish, subscribe (patterns with ; between them), secret (password, token, none), fingerprint, expires.',
    options: {
      out: {
        type: 'string',
        value: 'FILE',
        about: 'new CSV file for the secrets, readable by its owner only',
      },
      ...WHERE,
    },
    positionals: { min: 1, max: 1 },
    examples: [
      ['tidemark device import fleet.csv --out secrets.csv', 'secrets.csv: name,kind,secret,expires'],
    ],
    load: () => import('../commands/device-import.ts'),
  },
  {
    name: 'token add',
    summary: 'add a person or a program with a bearer token',
    usage: 'NAME --role ROLE [--expires TIME]',
    about:
      'Roles: operator (reads and sends), auditor (reads and proves), admin (everything), device (sends as that device).',
    options: {
      role: { type: 'string', value: 'ROLE', about: 'device, auditor, operator or admin' },
      publish: PUBLISH,
      subscribe: SUBSCRIBE,
      expires: EXPIRES,
      ...WHERE,
    },
    positionals: { min: 1, max: 1 },
    examples: [
      [
        'tidemark token add grafana --role auditor',
        'then: curl -H "Authorization: Bearer TOKEN" …/api/v1/status',
      ],
    ],
    load: () => import('../commands/token-add.ts'),
  },
  {
    name: 'token admin',
    summary: 'make a new admin token in place of a lost one',
    usage: '--reset',
    options: { reset: { type: 'boolean', about: 'every earlier admin token ends at once' }, ...WHERE },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark token admin --reset', 'as the user the gateway runs as; no token needed']],
    load: () => import('../commands/token-admin.ts'),
  },
];
