// The commands of proofs and audits, for those who do not trust the gateway, as words. Part of the table in ../commands.ts.
import type { CommandSpec } from '../command.ts';
import { OUT, PLACE, SHARED } from './options.ts';

export const PROOF_COMMANDS: readonly CommandSpec[] = [
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
      ...PLACE,
      out: OUT,
    },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark prove --offset 17 > p.json', 'from ./tidemark-data, also while the gateway runs'],
      ['tidemark prove --offset 17 --url http://127.0.0.1:8080 --out p.json', 'from a running gateway'],
      ['tidemark prove --offset 100-200 --out range.json', 'a hundred and one records in one file'],
      ['tidemark prove --device pump-1 --at 2026-11-21T12:00:00Z', 'the first record of pump-1 from noon on'],
    ],
    load: () => import('../commands/prove.ts'),
  },
  {
    name: 'verify',
    summary: 'check a proof file, offline',
    usage: 'FILE [--policy FILE | --key KEY] [--state FILE]',
    about:
      'Says each step on a line. Without --policy or --key it trusts the gateway key of the data directory here, if there is one. Exit 0 valid, 1 invalid, 2 unusable input or nothing to trust.',
    options: {
      policy: SHARED.policy,
      key: SHARED.key,
      state: {
        type: 'string',
        value: 'FILE',
        about:
          'of `tidemark audit`: judge by the policy and keys that were in force at the proof’s checkpoint, where they changed since',
      },
      ...PLACE,
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
    load: () => import('../commands/verify.ts'),
  },
  {
    name: 'audit',
    summary: 'check the whole history of a gateway',
    usage: '[URL|DIR] [--policy FILE | --key KEY] [--sample N] [--device D | --state FILE] [--watch]',
    about:
      'Checks every block rule, recomputes every tree, re-hashes every retained record, and asks the authorities of the policy what they have seen. With --blocks-only all but the records, of a mirror or a copy of the block log too. Exit 0 clean, 1 findings, 2 unusable input, 3 the gateway does not answer.',
    options: {
      policy: SHARED.policy,
      key: SHARED.key,
      sample: {
        type: 'string',
        value: 'N',
        about: 're-hash the records of N blocks chosen at random instead of all (0: none)',
      },
      'blocks-only': {
        type: 'boolean',
        about: 'blocks and signatures, no records: of a mirror or a copy of the block log, too',
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
      timestamps: {
        type: 'string',
        value: 'DIR',
        about: 'stored timestamps to check (default: those of the data directory or gateway that is audited)',
      },
      'tsa-ca': {
        type: 'string',
        value: 'FILE',
        about: 'PEM certificates that every timestamp has to lead to',
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
      'skip-cold': SHARED['skip-cold'],
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
    load: () => import('../commands/audit.ts'),
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
      ...PLACE,
      json: SHARED.json,
    },
    positionals: { min: 0, max: 0 },
    examples: [
      ['tidemark provenance --offset 17', 'the way of one record'],
      ['tidemark provenance --from 2026-11-21T00:00:00Z --json', 'all flow since midnight, as data'],
    ],
    load: () => import('../commands/provenance.ts'),
  },
];
