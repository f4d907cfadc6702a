// Options that several commands share, so that they read the same everywhere.
import type { OptionSpec } from '../command.ts';

export const SHARED = {
  config: {
    type: 'string',
    short: 'c',
    value: 'FILE',
    about: 'configuration file (default: ./tidemark.yaml, then /etc/tidemark/tidemark.yaml)',
  },
  json: { type: 'boolean', about: 'print the result as JSON' },
  'skip-cold': { type: 'boolean', about: 'leave out what only the cold tier of the configuration has' },
  'data-dir': {
    type: 'string',
    short: 'd',
    value: 'DIR',
    about: 'data directory (default: from the configuration, else ./tidemark-data)',
  },
  policy: {
    type: 'string',
    short: 'p',
    value: 'FILE',
    about: 'policy file that names the gateway key and the authorities to trust',
  },
  key: {
    type: 'string',
    value: 'KEY',
    about: 'verifier key of the gateway, as `tidemark keygen` and `tidemark serve` print it',
  },
} as const satisfies Record<string, OptionSpec>;

/** Which data directory: that of a configuration, or this one. */
export const PLACE = {
  'data-dir': SHARED['data-dir'],
  config: SHARED.config,
} as const satisfies Record<string, OptionSpec>;

export const OUT = {
  type: 'string',
  value: 'FILE',
  about: 'write here instead of standard output',
} as const satisfies OptionSpec;

/** Of commands that talk to a running gateway as devices do. */
export const HTTP_ADDRESS = {
  type: 'string',
  value: 'URL',
  about: 'the gateway’s HTTP address (default http://127.0.0.1:8080)',
} as const satisfies OptionSpec;

export const MQTT_ADDRESS = {
  type: 'string',
  value: 'URL',
  about: 'the gateway’s MQTT address (default mqtt://127.0.0.1:1883)',
} as const satisfies OptionSpec;

export const AUTHORITY_CONFIG = {
  type: 'string',
  short: 'c',
  value: 'FILE',
  about: 'the authority’s configuration (default: ./authority.yaml)',
} as const satisfies OptionSpec;

/** Where to administer: the data directory’s gateway, running or not, unless --url names another. */
export const WHERE = {
  url: { type: 'string', value: 'URL', about: 'a gateway elsewhere, by its HTTP address; needs a token' },
  token: {
    type: 'string',
    value: 'TOKEN',
    about: 'admin token for --url; better in the environment as TIDEMARK_TOKEN, where `ps` does not show it',
  },
  ...PLACE,
  json: SHARED.json,
} as const satisfies Record<string, OptionSpec>;
