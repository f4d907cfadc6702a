// Fuzz targets of the portable formats: record bytes and JSON, block, note, checkpoint, tiles, leaves, proofs, timestamps, policy, and
// the scanner for JSON members. Claims: no error but a FormatError; what is accepted has one form; no forged proof.
import { deepStrictEqual } from 'node:assert';
import { memberFinder } from '../../gateway/codecs/json-scan.ts';
import { encodeBlock, parseBlock } from '../../ledger/format/block.ts';
import { canonicalJson, parseCanonicalJson } from '../../ledger/format/canonical.ts';
import { formatCheckpoint, parseCheckpoint } from '../../ledger/format/checkpoint.ts';
import { decodeLeaves, encodeLeaves } from '../../ledger/format/leaves.ts';
import { formatNote, formatVerifierKey, parseNote, parseVerifierKey } from '../../ledger/format/note.ts';
import { describePolicy, parsePolicy } from '../../ledger/format/policy.ts';
import { parseProofFile } from '../../ledger/format/proof.ts';
import { rangeFromJson } from '../../ledger/format/proof-range.ts';
import {
  decodeRecord,
  encodeRecord,
  recordFromJson,
  recordLeafHash,
  recordToJson,
} from '../../ledger/format/record.ts';
import { decodeEntryBundle, encodeEntryBundle, parseTilePath, tilePath } from '../../ledger/format/tile.ts';
import { formatTlogProof, parseTlogProof } from '../../ledger/format/tlog-proof.ts';
import {
  imprintOf,
  TimestampError,
  timestampRequest,
  verifyTimestamp,
} from '../../ledger/timestamp/token.ts';
import { verifyProof } from '../../ledger/verify/index.ts';
import {
  chain,
  checkpointNote,
  checkpointText,
  gatewayKeyText,
  gatewayOnlyPolicyText,
  policyText,
  sampleProof,
  sampleRange,
  sampleRecord,
} from '../ledger/verify/sample.ts';
import { oneForm, oneTextForm, orRefused, type Target, utf8 } from './target.ts';

const text = (bytes: Buffer) => bytes.toString('utf8');
const records = [0, 1, 5, 38].map(sampleRecord);

function proofTarget(): Target {
  const indexes = [0, 5, 38, 83];
  const good = indexes.map((index) => utf8(sampleProof(index, ['operator', 'vendor'])));
  const isSealed = (bytes: Uint8Array) =>
    Array.from({ length: 84 }, (_, index) => sampleRecord(index)).some((record) =>
      Buffer.from(encodeRecord(record)).equals(Buffer.from(bytes)),
    );
  return {
    name: 'proof file',
    good,
    share: 2,
    check: (bytes, isGood) => {
      const report = verifyProof(text(bytes), { policy: policyText });
      if (isGood && report.status !== 'final') throw new Error(`a good proof is ${report.status}`);
      if (report.status === 'invalid' || report.status === 'unusable') return;
      // What verifies is a record that was sealed, whatever was done to the file around it.
      const { record } = parseProofFile(text(bytes));
      if (!isSealed(encodeRecord(record))) throw new Error('a record verifies that was never sealed');
    },
  };
}

function rangeTarget(): Target {
  const ranges = [
    [0, 0],
    [3, 30],
    [7, 13],
    [60, 83],
  ] as const;
  const sealed = new Map(
    Array.from({ length: 84 }, (_, at) => [at, Buffer.from(recordLeafHash(sampleRecord(at)))]),
  );
  return {
    name: 'range proof file',
    good: ranges.map(([first, last]) => utf8(sampleRange(first, last, ['operator', 'vendor']))),
    share: 2,
    check: (bytes, isGood) => {
      const given = text(bytes);
      const report = verifyProof(given, { policy: policyText });
      if (isGood && report.status !== 'final') throw new Error(`a good range is ${report.status}`);
      if (report.status === 'invalid' || report.status === 'unusable') return;
      // What verifies is a run of sealed records without a hole.
      const { first, last, records, removed } = rangeFromJson(JSON.parse(given), given);
      const shown = new Map<number, Uint8Array>(
        records.map((record) => [record.offset, recordLeafHash(record)]),
      );
      for (const { offset, hash } of removed) shown.set(offset, hash);
      for (let at = first; at <= last; at++)
        if (!sealed.get(at)?.equals(shown.get(at) ?? new Uint8Array(0)))
          throw new Error(`offset ${at} verifies as what was never sealed`);
    },
  };
}

function timestampTarget(): Target {
  return {
    name: 'timestamp',
    good: [timestampRequest(imprintOf('x'), Buffer.alloc(8, 0xff))],
    check: (bytes) => {
      try {
        verifyTimestamp(bytes, { imprint: imprintOf('x') });
      } catch (error) {
        if (error instanceof TimestampError) return;
        throw error;
      }
      throw new Error('a timestamp verifies that nobody signed');
    },
  };
}

function policyTarget(): Target {
  return {
    name: 'policy',
    good: [policyText, gatewayOnlyPolicyText].map(utf8),
    check: (bytes, isGood) => {
      const policy = orRefused(() => parsePolicy(text(bytes)));
      if (isGood && policy === null) throw new Error('a good policy is refused');
      if (policy !== null) describePolicy(policy);
    },
  };
}

const MEMBERS = ['payload', 'a', ''];

/** For any JSON text the span parses to what JSON.parse says of the member; for any other bytes it merely returns. */
function scannerTarget(): Target {
  const finders = MEMBERS.map((name) => [name, memberFinder(name)] as const);
  return {
    name: 'JSON member scanner',
    good: [
      '{"payload":{"a":[1,2,{"b":"}"}]},"a":"\\"","":null}',
      ' { "a" : -1.5e3 , "payl\\u006fad" : "x\\\\" }',
      '{"a":{"payload":1},"payload":[],"payload":true}',
      '{"ä":"ü","payload":"\\ud83d\\ude00"}',
    ].map(utf8),
    check: (bytes) => {
      let value: unknown;
      try {
        value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
      } catch {
        return void finders.map(([, find]) => orNull(() => find(bytes)));
      }
      const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
      for (const [name, find] of finders) {
        const span = find(bytes);
        const has = isObject && Object.hasOwn(value as object, name);
        if ((span !== null) !== has)
          throw new Error(`member ${name}: found ${span !== null}, is there ${has}`);
        if (span)
          deepStrictEqual(JSON.parse(span.toString('utf8')), (value as Record<string, unknown>)[name]);
      }
    },
  };
}

/** The scanner's caller has parsed the text: for other bytes a SyntaxError of an escaped name is as good as null. */
function orNull<T>(act: () => T): T | null {
  try {
    return act();
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

export function formatTargets(): Target[] {
  const leaves = [
    { first: 3, hashes: recordLeafHash(records[0]!) },
    { first: 9, hashes: recordLeafHash(records[1]!) },
  ];
  return [
    oneForm('record bytes', records.map(encodeRecord), decodeRecord, encodeRecord),
    {
      name: 'record JSON',
      good: records.map((record) => utf8(JSON.stringify(recordToJson(record)))),
      check: (bytes, isGood) => {
        const record = orRefused(() => recordFromJson(orNull(() => JSON.parse(text(bytes)))));
        if (isGood && record === null) throw new Error('good input is refused');
        if (record) deepStrictEqual(decodeRecord(encodeRecord(record)), sortedHeaders(record));
      },
    },
    oneForm('block', chain, parseBlock, encodeBlock),
    oneForm('note', [utf8(checkpointNote(chain, ['operator']))], parseNote, formatNote),
    oneTextForm('checkpoint', [checkpointText(chain)], parseCheckpoint, formatCheckpoint),
    oneTextForm('verifier key', [gatewayKeyText], parseVerifierKey, formatVerifierKey),
    oneForm(
      'entry bundle',
      [encodeEntryBundle(chain.slice(0, 5))],
      (bytes) => decodeEntryBundle(bytes, 5),
      encodeEntryBundle,
    ),
    oneTextForm(
      'tile path',
      ['tile/0/x001/x234/067', 'tile/entries/000.p/7', 'tile/6/255'],
      parseTilePath,
      tilePath,
    ),
    oneForm('leaves', [encodeLeaves(leaves)], decodeLeaves, encodeLeaves),
    oneTextForm(
      'canonical JSON',
      ['{"a":1,"b":["x",null]}', '{}', '"ä"'],
      (given) => ({ value: parseCanonicalJson(given) }),
      ({ value }) => canonicalJson(value),
    ),
    proofTarget(),
    rangeTarget(),
    oneTextForm(
      'tlog-proof',
      [0, 38].map((index) => formatTlogProof(parseProofFile(sampleProof(index, ['vendor'])))),
      parseTlogProof,
      formatTlogProof,
    ),
    timestampTarget(),
    policyTarget(),
    scannerTarget(),
  ];
}

/** In record bytes headers stand sorted by name. */
function sortedHeaders<T extends { headers: readonly (readonly [string, Uint8Array])[] }>(record: T): T {
  const headers = [...record.headers].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return { ...record, headers };
}
