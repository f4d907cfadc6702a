// The table of commands. Each entry is only words; the work is loaded from commands/ when it runs.
import { type CommandSpec, SHARED } from './command.ts';
import { ACCESS_COMMANDS } from './commands-access.ts';

/** Of commands that talk to a running gateway as devices do. */
const GATEWAY_ADDRESS = {
  url: { type: 'string', value: 'URL', about: 'the gateway’s HTTP address (default http://127.0.0.1:8080)' },
} as const;

const JUDGING = {
  config: { ...SHARED.config, about: 'the gateway’s configuration file: its windows are recomputed' },
  proofs: {
    type: 'string',
    value: 'N',
    about: 'how many acknowledged records have their proof checked, drawn at random (default 100)',
  },
  json: SHARED.json,
} as const;

export const COMMANDS: readonly CommandSpec[] = [
  {
    name: 'serve',
    summary: 'run the gateway',
    usage: '[--config FILE]',
    about:
      'Runs until SIGTERM or SIGINT, then finishes what is in flight and exits 0. Never simulates anything.',
    options: { config: SHARED.config, 'data-dir': SHARED['data-dir'] },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark serve', 'with ./tidemark.yaml, or defaults where there is none'],
      [
        'TIDEMARK_MQTT_PORT=1884 tidemark serve -c /etc/tidemark/tidemark.yaml',
        'one setting from the environment',
      ],
    ],
    load: () => import('./commands/serve.ts'),
  },
  {
    name: 'demo',
    summary: 'run the gateway with a simulated plant of some 40 devices',
    usage: '[--seed N] [--devices N]',
    about:
      'The devices are real clients over MQTT, HTTP and WebSocket; faults are injected from the seed, and the summary line counts those found.',
    options: {
      config: SHARED.config,
      'data-dir': SHARED['data-dir'],
      seed: { type: 'string', value: 'N', about: 'seed of the plant (default 1)' },
      devices: { type: 'string', value: 'N', about: 'number of devices (default 40)' },
    },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark demo', 'then open the address that it prints']],
    load: () => import('./commands/demo.ts'),
  },
  {
    name: 'prove',
    summary: 'write a proof file for one record, or for consecutive ones',
    usage: '--offset N[-M] | --topic T --device D --at TIME [--url URL | --data-dir DIR] [--out FILE]',
    about:
      'A range goes into one file that shares its paths and accounts for every offset. By topic or device, the first record at or after the time is meant.',
    options: {
      offset: {
        type: 'string',
        short: 'o',
        value: 'N[-M]',
        about: 'offset of the record, or first and last of consecutive ones',
      },
      topic: { type: 'string', value: 'TOPIC', about: 'topic of the record, exactly' },
      device: { type: 'string', value: 'DEVICE', about: 'device of the record' },
      at: {
        type: 'string',
        value: 'TIME',
        about: 'event time, as 2026-11-21T12:00:00Z or unix ms (default: the oldest held)',
      },
      format: {
        type: 'string',
        value: 'FORMAT',
        about:
          'tidemark (default), tlog-proof (C2SP), or cose (RFC 9942 receipt of the block, signed with gateway.key)',
      },
      timestamped: {
        type: 'boolean',
        about:
          'against the oldest checkpoint with an external timestamp that has the record; the timestamp goes into OUT.tsr',
      },
      copy: {
        type: 'string',
        value: 'FILE',
        about: 'exported records (NDJSON) that the log may no longer hold',
      },
      url: {
        type: 'string',
        value: 'URL',
        about: 'ask a running gateway instead of reading a data directory',
      },
      'data-dir': SHARED['data-dir'],
      config: SHARED.config,
      out: { type: 'string', value: 'FILE', about: 'write here instead of standard output' },
    },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark prove --offset 17 > p.json', 'from ./tidemark-data, also while the gateway runs'],
      ['tidemark prove --offset 17 --url http://127.0.0.1:8080 --out p.json', 'from a running gateway'],
      ['tidemark prove --offset 100-200 --out range.json', 'a hundred and one records in one file'],
      ['tidemark prove --device pump-1 --at 2026-11-21T12:00:00Z', 'the first record of pump-1 from noon on'],
    ],
    load: () => import('./commands/prove.ts'),
  },
  {
    name: 'verify',
    summary: 'check a proof file, offline',
    usage: 'FILE [--policy FILE | --key KEY]',
    about:
      'Says each step on a line. Without --policy or --key it trusts the gateway key of the data directory here, if there is one. Exit 0 valid, 1 invalid, 2 unusable input or nothing to trust.',
    options: {
      policy: SHARED.policy,
      key: SHARED.key,
      'data-dir': SHARED['data-dir'],
      config: SHARED.config,
      file: {
        type: 'string',
        value: 'FILE',
        about: 'a file that should be exactly the payload of the record',
      },
      timestamp: {
        type: 'string',
        value: 'FILE',
        about: 'RFC 3161 timestamp of the proof’s checkpoint, as `prove --timestamped` writes it',
      },
      'tsa-ca': {
        type: 'string',
        value: 'FILE',
        about: 'PEM certificates that the timestamp has to lead to',
      },
      json: SHARED.json,
    },
    positionals: { min: 1, max: 1 },
    examples: [
      ['tidemark verify p.json --policy policy.txt', 'what an auditor runs'],
      [
        'tidemark prove -o 17 | tidemark verify -',
        'from standard input, trusting the gateway of this directory',
      ],
    ],
    load: () => import('./commands/verify.ts'),
  },
  {
    name: 'audit',
    summary: 'check the whole history of a gateway',
    usage: '[URL|DIR] [--policy FILE | --key KEY] [--sample N] [--device D | --state FILE] [--watch]',
    about:
      'Checks every block rule, recomputes every tree, re-hashes every retained record, and asks the authorities of the policy what they have seen. Exit 0 clean, 1 findings, 2 unusable input.',
    options: {
      policy: SHARED.policy,
      key: SHARED.key,
      sample: {
        type: 'string',
        value: 'N',
        about: 're-hash the records of N blocks chosen at random instead of all (0: none)',
      },
      device: {
        type: 'string',
        value: 'DEVICE',
        about: 'follow the sequence numbers of this device: are all of them here?',
      },
      state: {
        type: 'string',
        value: 'FILE',
        about:
          'go on from the last clean audit that this file remembers, and see a history that changed since',
      },
      report: {
        type: 'string',
        value: 'FILE',
        about: 'also write the report here: .html to print, .json, or text',
      },
      watch: { type: 'boolean', about: 'audit again and again; the first alarm ends it with exit code 1' },
      every: { type: 'string', value: 'SECONDS', about: 'pause between two audits of --watch (default 60)' },
      webhook: {
        type: 'string',
        value: 'URL',
        about: 'with --watch: POST alarms here as JSON, and go on',
      },
      heartbeat: {
        type: 'string',
        value: 'SECONDS',
        about: 'how often the gateway says that it is alive (default 60)',
      },
      config: SHARED.config,
      json: SHARED.json,
    },
    positionals: { min: 0, max: 1 },
    examples: [
      ['tidemark audit', 'the data directory of this configuration'],
      ['tidemark audit http://127.0.0.1:8080 --policy policy.txt', 'a running gateway, from elsewhere'],
      ['tidemark audit ./data --device pump-1 --report audit.html', 'is everything here that pump-1 sent?'],
      [
        'tidemark audit http://gw:8080 -p policy.txt --state gw.state --watch --webhook https://alarms.example.com/',
        'a monitor',
      ],
    ],
    load: () => import('./commands/audit.ts'),
  },
  {
    name: 'provenance',
    summary: 'where a record came from and where it went, or everything between two times',
    usage: '--offset N | --from TIME [--to TIME] [--url URL | --data-dir DIR]',
    about:
      'Device, record, windows and scores made from it, block, checkpoint, and the forwarders that have dealt with it; or all blocks sealed between two times, their records re-hashed. Exit 1 when a record does not lead to its sealed root.',
    options: {
      offset: { type: 'string', short: 'o', value: 'N', about: 'offset of the record' },
      from: {
        type: 'string',
        value: 'TIME',
        about: 'sealed at or after, as 2026-11-21T12:00:00Z or unix ms',
      },
      to: { type: 'string', value: 'TIME', about: 'and before (default: now)' },
      url: { type: 'string', value: 'URL', about: 'ask a running gateway' },
      'data-dir': SHARED['data-dir'],
      config: SHARED.config,
      json: SHARED.json,
    },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark provenance --offset 17', 'the way of one record'],
      ['tidemark provenance --from 2026-11-21T00:00:00Z --json', 'all flow since midnight, as data'],
    ],
    load: () => import('./commands/provenance.ts'),
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
      config: SHARED.config,
      json: SHARED.json,
    },
    positionals: { min: 0, max: 1 },
    examples: [
      ['tidemark fsck --deep --json', 'everything, as data'],
      ['tidemark fsck --repair', 'with the gateway stopped'],
    ],
    load: () => import('./commands/fsck.ts'),
  },
  {
    name: 'backup',
    summary: 'copy a data directory, also while its gateway runs',
    usage: 'DIR [--with-key] [--data-dir DIR]',
    about:
      'The copy is consistent: restored, it starts as after a crash at one moment. A backup already in DIR is brought up to date and only what changed is copied. The private key is left out unless asked for.',
    options: {
      'with-key': { type: 'boolean', about: 'also copy gateway.key: guard the backup like the key itself' },
      'data-dir': SHARED['data-dir'],
      config: SHARED.config,
      json: SHARED.json,
    },
    positionals: { min: 1, max: 1 },
    examples: [['tidemark backup /mnt/usb/gateway-3', 'again every night: only what is new is copied']],
    load: () => import('./commands/backup.ts'),
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
    load: () => import('./commands/restore.ts'),
  },
  {
    name: 'sim',
    summary: 'run a simulated fleet against a gateway and judge it',
    usage: '[--url URL] [--mqtt URL] [--devices N] [--rate N] [--seconds N] [--seed N]',
    about:
      'Sends by MQTT, HTTP and WebSocket, keeps its own record of what was acknowledged, and compares it with what the gateway holds. Exit 1 when an acknowledged record is missing, doubled or changed. Only loopback addresses.',
    options: {
      url: {
        type: 'string',
        value: 'URL',
        about: 'the gateway’s HTTP address (default http://127.0.0.1:8080)',
      },
      mqtt: {
        type: 'string',
        value: 'URL',
        about: 'the gateway’s MQTT address (default mqtt://127.0.0.1:1883)',
      },
      devices: { type: 'string', value: 'N', about: 'number of devices (default 40)' },
      rate: { type: 'string', value: 'N', about: 'records per second and device (default 2)' },
      seconds: { type: 'string', value: 'N', about: 'how long to send (default 30)' },
      seed: { type: 'string', value: 'N', about: 'seed of the fleet (default 1)' },
      'start-ms': {
        type: 'string',
        value: 'MS',
        about:
          'device time of the first record, unix ms (default now); with the seed it fixes every byte sent',
      },
      json: SHARED.json,
    },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark sim --devices 200 --rate 10 --seconds 60', 'two thousand records a second for a minute'],
    ],
    load: () => import('./commands/sim.ts'),
  },
  {
    name: 'sim run',
    summary: 'run a scenario of simulated devices against a gateway, and judge it',
    usage: 'SCENARIO [--url URL] [--mqtt URL] [--out DIR] [--scale N] [--seconds N] [--seed N]',
    about:
      'SCENARIO is a YAML file (docs/simulation.md) or the name of one that comes with tidemark: wind-farm, cold-chain, factory-hall, reconnect-storm, poisoned-clock, flooding-device. Writes the truth ledger, report.json and report.html into DIR. Exit 1 when an acknowledged record is lost, doubled, reordered, changed or unproven, or an expectation is not met. Only loopback addresses.',
    options: {
      ...GATEWAY_ADDRESS,
      mqtt: {
        type: 'string',
        value: 'URL',
        about: 'the gateway’s MQTT address (default mqtt://127.0.0.1:1883)',
      },
      mqtts: {
        type: 'string',
        value: 'URL',
        about: 'its MQTT address over TLS, for fleets with `tls: true`',
      },
      ca: { type: 'string', value: 'FILE', about: 'PEM of the authority its certificate is from' },
      sink: {
        type: 'string',
        value: 'URL',
        about: 'the MQTT broker a forwarder sends to: what arrives there is judged too',
      },
      'sink-prefix': { type: 'string', value: 'P', about: 'that forwarder’s topicPrefix' },
      out: { type: 'string', short: 'o', value: 'DIR', about: 'where the results go (default ./sim-NAME)' },
      scale: { type: 'string', value: 'N', about: 'times the number of devices, e.g. 0.01' },
      seconds: { type: 'string', value: 'N', about: 'how long to send, instead of what the file says' },
      seed: { type: 'string', value: 'N', about: 'another seed than the file’s' },
      'start-ms': {
        type: 'string',
        value: 'MS',
        about: 'scenario time of the start, unix ms (default now); with the seed it fixes every byte sent',
      },
      ...JUDGING,
    },
    positionals: { min: 1, max: 1 },
    examples: [
      ['tidemark sim run wind-farm', 'five hundred turbines for a minute'],
      [
        'tidemark sim run reconnect-storm --scale 0.1 --seconds 30',
        'a tenth of the devices, for half a minute',
      ],
    ],
    load: () => import('./commands/sim-run.ts'),
  },
  {
    name: 'sim load',
    summary: 'send as much MQTT as one core can, or at a fixed rate, and measure acknowledgements',
    usage: '[--mqtt URL] [--connections N] [--inflight N | --rate N] [--seconds N] [--bytes N]',
    about:
      'With --rate records are due at fixed times and latency runs from then, whether they could be sent or not: a gateway that stalls is not spared. Only loopback addresses. Exit 1 when a connection ended or records stayed unanswered.',
    options: {
      mqtt: {
        type: 'string',
        value: 'URL',
        about: 'the gateway’s MQTT address (default mqtt://127.0.0.1:1883)',
      },
      connections: { type: 'string', value: 'N', about: 'connections (default 10)' },
      inflight: { type: 'string', value: 'N', about: 'records unanswered on each at most (default 100)' },
      rate: { type: 'string', value: 'N', about: 'records per second over all (default: as acknowledged)' },
      seconds: { type: 'string', value: 'N', about: 'how long (default 10)' },
      bytes: { type: 'string', value: 'N', about: 'size of a payload (default 100)' },
      json: SHARED.json,
    },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark sim load --connections 10 --inflight 1000', 'saturate it'],
      [
        'tidemark sim load --rate 20000 --inflight 5000',
        'twenty thousand a second, and what devices would see',
      ],
    ],
    load: () => import('./commands/sim-load.ts'),
  },
  {
    name: 'sim check',
    summary: 'compare the truth ledger of a simulated run with what a gateway holds',
    usage: 'DIR|FILE [--url URL | --data-dir DIR]',
    about:
      'Each acknowledged record must be there once, unchanged, in order, and proven; with --config the windows are recomputed and compared. The first offenders are named. Exit 1 when a promise was broken.',
    options: {
      ...GATEWAY_ADDRESS,
      'data-dir': SHARED['data-dir'],
      ...JUDGING,
      policy: SHARED.policy,
      key: SHARED.key,
    },
    positionals: { min: 1, max: 1 },
    examples: [
      [
        'tidemark sim check sim-wind-farm --data-dir ./tidemark-data',
        'from the disk, with the gateway stopped',
      ],
    ],
    load: () => import('./commands/sim-check.ts'),
  },
  {
    name: 'config check',
    summary: 'check the configuration; errors name file, line and field',
    usage: '[FILE]',
    options: { json: SHARED.json },
    positionals: { min: 0, max: 1 },
    examples: [['tidemark config check /etc/tidemark/tidemark.yaml', 'exit 0 when it is right, 2 when not']],
    load: () => import('./commands/config-check.ts'),
  },
  {
    name: 'config show',
    summary: 'print the configuration in force, defaults and environment included',
    usage: '[--config FILE]',
    options: { config: SHARED.config, json: SHARED.json },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark config show > tidemark.yaml', 'a complete file to start from']],
    load: () => import('./commands/config-show.ts'),
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
    load: () => import('./commands/config-schema.ts'),
  },
  ...ACCESS_COMMANDS,
  {
    name: 'keygen',
    summary: 'make a gateway key before the first start',
    usage: '[--data-dir DIR]',
    about:
      'Writes the private key into the data directory (mode 0600) and prints the verifier key for policies. `serve` does the same at its first start. Never overwrites a key.',
    options: { 'data-dir': SHARED['data-dir'], config: SHARED.config, json: SHARED.json },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark keygen', 'prints the verifier key to hand to auditors']],
    load: () => import('./commands/keygen.ts'),
  },
  {
    name: 'authority',
    summary: 'run a cosigner for gateways',
    usage: '[--config FILE]',
    about:
      'Answers C2SP tlog-witness add-checkpoint for the gateways its configuration names, cosigns at most one history of each, and keeps evidence of any second one. Runs until SIGTERM or SIGINT.',
    options: {
      config: {
        type: 'string',
        short: 'c',
        value: 'FILE',
        about: 'its configuration (default: ./authority.yaml)',
      },
    },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark authority --config /etc/tidemark/authority.yaml', 'docs/operations.md shows the file'],
    ],
    load: () => import('./commands/authority.ts'),
  },
  {
    name: 'authority key',
    summary: 'print the verifier key of an authority, making it where there is none',
    usage: '[--config FILE]',
    options: {
      config: {
        type: 'string',
        short: 'c',
        value: 'FILE',
        about: 'its configuration (default: ./authority.yaml)',
      },
      json: SHARED.json,
    },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark authority key', 'what a policy’s witness line names']],
    load: () => import('./commands/authority-key.ts'),
  },
  {
    name: 'policy show',
    summary: 'print the policy in force and what its quorum tolerates',
    usage: '[--data-dir DIR] [--json]',
    options: { 'data-dir': SHARED['data-dir'], config: SHARED.config, json: SHARED.json },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark policy show', 'also while the gateway runs']],
    load: () => import('./commands/policy-show.ts'),
  },
  {
    name: 'policy propose',
    summary: 'make a new policy into a statement for the authorities to sign',
    usage: 'POLICY [--out FILE]',
    about:
      'Prints what the new quorum tolerates and writes the statement, signed by this gateway. A quorum of the policy in force and one of the new sign it (`policy sign`) before it can be applied.',
    options: {
      out: { type: 'string', value: 'FILE', about: 'write here instead of standard output' },
      'allow-non-intersecting': {
        type: 'boolean',
        about:
          'accept a quorum of which two need not share an authority: two histories could both become final',
      },
      'data-dir': SHARED['data-dir'],
      config: SHARED.config,
    },
    positionals: { min: 1, max: 1 },
    examples: [
      ['tidemark policy propose new-policy.txt --out proposal.note', 'then send it to the authorities'],
    ],
    load: () => import('./commands/policy-propose.ts'),
  },
  {
    name: 'policy sign',
    summary: 'sign a proposed policy as an authority',
    usage: 'PROPOSAL [--config AUTHORITY.yaml] [--out FILE]',
    options: {
      config: {
        type: 'string',
        short: 'c',
        value: 'FILE',
        about: 'the authority’s configuration (default: ./authority.yaml)',
      },
      out: { type: 'string', value: 'FILE', about: 'write here instead of standard output' },
    },
    positionals: { min: 1, max: 1 },
    examples: [
      [
        'tidemark policy sign proposal.note -c authority.yaml --out signed.note',
        'by the authority’s operator',
      ],
    ],
    load: () => import('./commands/policy-sign.ts'),
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
    load: () => import('./commands/policy-apply.ts'),
  },
  {
    name: 'key rotate',
    summary: 'give the gateway a new key',
    usage: '[--prepare] [--data-dir DIR]',
    about:
      'The chain gets a key block signed by both keys; the old one is removed. With authorities: run it with --prepare, have each add the new key to its configuration, then run it without.',
    options: {
      prepare: { type: 'boolean', about: 'only make the new key and print it' },
      'data-dir': SHARED['data-dir'],
      config: SHARED.config,
    },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark key rotate --prepare', 'prints the key to hand to authorities first']],
    load: () => import('./commands/key-rotate.ts'),
  },
  {
    name: 'version',
    summary: 'print the version',
    usage: '[--json]',
    options: { json: SHARED.json },
    positionals: { min: 0, max: 0 },
    examples: [['tidemark version --json', 'with the Node and library versions']],
    load: () => import('./commands/version.ts'),
  },
];
