// The commands of keys, authorities and policies, as words. Part of the table in ../commands.ts.
import type { CommandSpec } from '../command.ts';
import { AUTHORITY_CONFIG, OUT, PLACE, SHARED } from './options.ts';

export const AUTHORITY_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'keygen',
    summary: 'make a gateway key before the first start',
    usage: '[--data-dir DIR]',
    about:
      'Writes the private key into the data directory (mode 0600) and prints the verifier key for policies. `serve` does the same at its first start. Never overwrites a key.',
    options: { ...PLACE, json: SHARED.json },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark keygen', 'prints the verifier key to hand to auditors']],
    load: () => import('../commands/keygen.ts'),
  },
  {
    name: 'key rotate',
    summary: 'give the gateway a new key',
    usage: '[--prepare] [--data-dir DIR]',
    about:
      'The chain gets a key block signed by both keys; the old one is removed. With authorities: run it with --prepare, have each add the new key to its configuration, then run it without.',
    options: {
      prepare: { type: 'boolean', about: 'only make the new key and print it' },
      ...PLACE,
    },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark key rotate --prepare', 'prints the key to hand to authorities first']],
    load: () => import('../commands/key-rotate.ts'),
  },
  {
    name: 'authority',
    summary: 'run a cosigner for gateways',
    usage: '[--config FILE]',
    about:
      'Answers C2SP tlog-witness add-checkpoint for the gateways its configuration names, cosigns at most one history of each, and keeps evidence of any second one. SIGHUP takes `gateways` and `allow` of a changed configuration. Runs until SIGTERM or SIGINT.',
    options: {
      config: AUTHORITY_CONFIG,
    },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark authority --config /etc/tidemark/authority.yaml', 'docs/operations.md shows the file'],
    ],
    load: () => import('../commands/authority.ts'),
  },
  {
    name: 'authority key',
    summary: 'print the verifier key of an authority, making it where there is none',
    usage: '[--config FILE]',
    options: {
      config: AUTHORITY_CONFIG,
      json: SHARED.json,
    },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark authority key', 'what a policy’s witness line names']],
    load: () => import('../commands/authority-key.ts'),
  },
  {
    name: 'policy show',
    summary: 'print the policy in force and what its quorum tolerates',
    usage: '[--data-dir DIR] [--json]',
    options: { ...PLACE, json: SHARED.json },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark policy show', 'also while the gateway runs']],
    load: () => import('../commands/policy-show.ts'),
  },
  {
    name: 'policy propose',
    summary: 'make a new policy into a statement for the authorities to sign',
    usage: 'POLICY [--out FILE]',
    about:
      'Prints what the new quorum tolerates and writes the statement, signed by this gateway. A quorum of the policy in force and one of the new sign it (`policy sign`) before it can be applied.',
    options: {
      out: OUT,
      'allow-non-intersecting': {
        type: 'boolean',
        about:
          'accept a quorum of which two need not share an authority: two histories could both become final',
      },
      ...PLACE,
    },
    positionals: { min: 1, max: 1 },
    examples: [
      ['tidemark policy propose new-policy.txt --out proposal.note', 'then send it to the authorities'],
    ],
    load: () => import('../commands/policy-propose.ts'),
  },
  {
    name: 'policy sign',
    summary: 'sign a proposed policy as an authority',
    usage: 'PROPOSAL [--config AUTHORITY.yaml | --key-file FILE] [--out FILE]',
    about:
      'An authority signs with the key it cosigns with. For a witness that signs nothing but checkpoints, the holder of its policy key does (`policy keygen`).',
    options: {
      config: AUTHORITY_CONFIG,
      'key-file': { type: 'string', value: 'FILE', about: 'sign with this policy key instead' },
      name: {
        type: 'string',
        value: 'NAME',
        about: 'with --key-file: name of the key, where the proposal does not name it',
      },
      out: OUT,
    },
    positionals: { min: 1, max: 1 },
    examples: [
      [
        'tidemark policy sign proposal.note -c authority.yaml --out signed.note',
        'by the authority’s operator',
      ],
    ],
    load: () => import('../commands/policy-sign.ts'),
  },
  {
    name: 'policy keygen',
    summary: 'make a key that signs policies for a witness that cannot',
    usage: 'FILE NAME',
    about:
      'For witnesses of others, which sign nothing but checkpoints: whoever answers for one keeps this key offline and signs policies with it. Prints the verifier key for the policy’s `#tidemark policy-key` line. Never overwrites a key.',
    options: {},
    positionals: { min: 2, max: 2 },
    examples: [
      ['tidemark policy keygen /media/stick/policy.key ops.example.com/policies', 'then see `policy sign`'],
    ],
    load: () => import('../commands/policy-keygen.ts'),
  },
  {
    name: 'policy apply',
    summary: 'put a signed policy in force',
    usage: 'SIGNED… [--data-dir DIR]',
    about:
      'Takes one statement, or several copies of it with different signatures. The gateway writes it into the chain as a policy block; from that block on it decides what is final.',
    options: { 'data-dir': SHARED['data-dir'], config: SHARED.config },
    positionals: { min: 1, max: 64 },
    examples: [
      [
        'tidemark policy apply signed-by-operator.note signed-by-regulator.note',
        'also while the gateway runs',
      ],
    ],
    load: () => import('../commands/policy-apply.ts'),
  },
];
