// The commands of simulated fleets, as words. Part of the table in ../commands.ts.
import type { CommandSpec } from '../command.ts';
import { HTTP_ADDRESS, MQTT_ADDRESS, SHARED } from './options.ts';

/** How a run is judged. */
const JUDGING = {
  config: { ...SHARED.config, about: 'the gateway’s configuration file: its windows are recomputed' },
  proofs: {
    type: 'string',
    value: 'N',
    about: 'how many acknowledged records have their proof checked, drawn at random (default 100)',
  },
  json: SHARED.json,
} as const;

export const SIM_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'sim',
    summary: 'run a simulated fleet against a gateway and judge it',
    usage: '[--url URL] [--mqtt URL] [--devices N] [--rate N] [--seconds N] [--seed N]',
    about:
      'Sends by MQTT, HTTP and WebSocket, keeps its own record of what was acknowledged, and compares it with what the gateway holds. Exit 1 when an acknowledged record is missing, doubled or changed. Only loopback addresses.',
    options: {
      url: HTTP_ADDRESS,
      mqtt: MQTT_ADDRESS,
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
    load: () => import('../commands/sim.ts'),
  },
  {
    name: 'sim run',
    summary: 'run a scenario of simulated devices against a gateway, and judge it',
    usage: 'SCENARIO [--url URL] [--mqtt URL] [--out DIR] [--scale N] [--seconds N] [--seed N]',
    about:
      'SCENARIO is a YAML file (docs/simulation.md) or the name of one that comes with tidemark: calm-plant, wind-farm, cold-chain, factory-hall, reconnect-storm, poisoned-clock, flooding-device, tls-fleet. Writes the truth ledger, report.json and report.html into DIR. Exit 1 when an acknowledged record is lost, doubled, reordered, changed or unproven, or an expectation is not met. Only loopback addresses.',
    options: {
      url: HTTP_ADDRESS,
      mqtt: MQTT_ADDRESS,
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
    load: () => import('../commands/sim-run.ts'),
  },
  {
    name: 'sim load',
    summary: 'send as much MQTT as one core can, or at a fixed rate, and measure acknowledgements',
    usage: '[--mqtt URL] [--url URL] [--connections N] [--inflight N | --rate N] [--seconds N] [--bytes N]',
    about:
      'With --rate records are due at fixed times and latency runs from then, whether they could be sent or not: a gateway that stalls is not spared. Only loopback addresses. Exit 1 when a connection ended or records stayed unanswered.',
    options: {
      mqtt: MQTT_ADDRESS,
      url: { ...HTTP_ADDRESS, about: 'where the gateway is asked how busy it was' },
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
    load: () => import('../commands/sim-load.ts'),
  },
  {
    name: 'sim check',
    summary: 'compare the truth ledger of a simulated run with what a gateway holds',
    usage: 'DIR|FILE [--url URL | --data-dir DIR]',
    about:
      'Each acknowledged record must be there once, unchanged, in order, and proven; with --config the windows are recomputed and compared. The first offenders are named. Exit 1 when a promise was broken.',
    options: {
      url: HTTP_ADDRESS,
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
    load: () => import('../commands/sim-check.ts'),
  },
];
