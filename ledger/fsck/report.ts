// Turns the results of fsck and audit into text for people. Decides nothing: every word stands for a field.
import type { Refusals } from '../format/refusals.ts';
import type { AuditReport } from './audit.ts';
import type { DeviceReport } from './devicehistory.ts';
import type { Finding } from './findings.ts';
import type { FsckReport } from './fsck.ts';

/** Findings shown; the report says how many more there are. */
const SHOWN_MAX = 50;

export function formatReport(report: FsckReport | AuditReport): string {
  return `${(report.kind === 'fsck' ? fsckLines(report) : auditLines(report)).join('\n')}\n`;
}

const count = (value: number, one: string, many = `${one}s`) =>
  `${value.toLocaleString('en-US')} ${value === 1 ? one : many}`;
const time = (ms: number | null) => (ms === null ? 'never' : new Date(ms).toISOString());
const line = (label: string, text: string) => `${label.padEnd(11)} ${text}`;

function fsckLines(report: FsckReport): string[] {
  const { log, ledger, records } = report;
  return [
    line('data', report.dataDir),
    line(
      'log',
      `${count(log.records, 'record')} (offsets ${log.start} to ${log.end - 1}) in ${count(log.batches, 'batch', 'batches')}, ${count(log.segments, 'segment')}${log.coldSegments > 0 ? ` and ${log.coldSegments} in the cold tier` : ''}, ${count(log.bytes, 'byte')}`,
    ),
    ledger
      ? line(
          'ledger',
          `${ledger.origin}: ${count(ledger.blocks, 'block')} of ${ledger.size}, covering offsets before ${ledger.coveredEnd}; root ${ledger.rootAgrees ? 'agrees' : 'DOES NOT AGREE'}`,
        )
      : line('ledger', 'none that could be read'),
    ...(records ? [line('re-hashed', recordText(records))] : []),
    ...findingLines(report.findings, report.findingCount),
    line('verdict', fsckVerdict(report)),
  ];
}

function fsckVerdict(report: FsckReport): string {
  if (report.verdict === 'damaged')
    return `DAMAGED: ${count(report.errors, 'error')}, ${count(report.warnings, 'warning')}`;
  if (report.verdict === 'repairable')
    return `${count(report.warnings, 'warning')}; nothing acknowledged is lost`;
  return report.deep ? 'clean' : 'clean (records not re-hashed against the ledger: add --deep)';
}

function recordText(records: FsckReport['records'] & object): string {
  const parts = [
    `${count(records.recordsMatching, 'record')} in ${count(records.blocksMatching, 'block')} match`,
  ];
  if (records.blocksChanged > 0) parts.push(`${count(records.blocksChanged, 'block')} CHANGED`);
  if (records.recordsMissing > 0) parts.push(`${count(records.recordsMissing, 'record')} MISSING`);
  if (records.recordsPruned > 0) parts.push(`${count(records.recordsPruned, 'record')} pruned (declared)`);
  if (records.recordsUnproven > 0)
    parts.push(`${count(records.recordsUnproven, 'record')} beside pruned ones not checked`);
  if (records.offsetsLost > 0)
    parts.push(`${count(records.offsetsLost, 'offset')} lost before sealing (declared)`);
  return parts.join(', ');
}

function auditLines(report: AuditReport): string[] {
  const { checkpoint, records, blocks } = report;
  const kinds = Object.entries(blocks).filter(([, number]) => number > 0);
  return [
    line('source', report.source),
    checkpoint
      ? line(
          'checkpoint',
          `${checkpoint.origin}, ${count(checkpoint.size, 'block')}, root ${checkpoint.root}`,
        )
      : line('checkpoint', 'none that could be read'),
    line('signatures', signatureText(report)),
    ...(report.since > 0
      ? [line('since', `an audit before had checked the first ${count(report.since, 'block')}`)]
      : []),
    ...report.authorities.map(({ name, size, verdict }) =>
      line(
        'authority',
        `${name}: ${AUTHORITY_WORDS[verdict]}${size === null ? '' : `, ${count(size, 'block')}`}`,
      ),
    ),
    ...(report.timestamps && report.timestamps.checked > 0
      ? [line('timestamps', timestampText(report.timestamps))]
      : []),
    line('blocks', kinds.map(([kind, number]) => `${number} ${kind}`).join(', ') || 'none'),
    line(
      'sealed',
      `offsets before ${report.sealedEnd}, from ${time(report.firstSealedMs)} to ${time(report.lastSealedMs)}`,
    ),
    line(
      'records',
      records.mode === 'none'
        ? 'none here: a block log alone. What the blocks say of records is not held against any'
        : `${recordText(records)}${records.mode === 'sample' ? ` (sample of ${count(records.blocksChecked, 'block')})` : ''}`,
    ),
    ...(report.device ? deviceLines(report.device) : []),
    ...(report.notSealedYet > 0
      ? [line('not sealed', `${count(report.notSealedYet, 'record')} at the end: not sealed yet`)]
      : []),
    ...report.declared.map(({ height, cause, count: lost }) =>
      line('declared', `block ${height}: ${cause}${lost > 0 ? `, ${count(lost, 'offset')} lost` : ''}`),
    ),
    ...(report.declaredCount > report.declared.length
      ? [line('', `… and ${count(report.declaredCount - report.declared.length, 'more declaration')}`)]
      : []),
    ...refusalLines(report.refusals),
    ...findingLines(report.findings, report.findingCount),
    ...(report.notice ? [line('note', report.notice)] : []),
    line(
      'verdict',
      report.verdict === 'clean'
        ? 'clean'
        : `PROBLEMS: ${count(report.errors, 'error')}, ${count(report.warnings, 'warning')}`,
    ),
  ];
}

/** Causes with the most first. */
export function refusalLines({ refused, dropped }: Refusals): string[] {
  const text = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .sort(([, a], [, b]) => b - a)
      .map(([cause, number]) => `${number.toLocaleString('en-US')} ${cause}`)
      .join(', ');
  return [
    ...(Object.keys(refused).length > 0 ? [line('refused', `${text(refused)} (the senders were told)`)] : []),
    ...(Object.keys(dropped).length > 0
      ? [line('dropped', `${text(dropped)} (the senders do not know)`)]
      : []),
  ];
}

function timestampText({ checked, sound, newest }: AuditReport['timestamps'] & object): string {
  const counted = `${sound} of ${checked} sound`;
  if (!newest) return counted;
  const worth = newest.trusted ? '' : ' (its certificate was not checked: give --tsa-ca)';
  return `${counted}; the newest: ${count(newest.size, 'block')} existed at ${time(newest.timeMs)}, says ${newest.authority}${worth}`;
}

const AUTHORITY_WORDS: Record<AuditReport['authorities'][number]['verdict'], string> = {
  agrees: 'has cosigned this history',
  behind: 'is behind',
  ahead: 'HAS SEEN MORE than is shown here',
  fork: 'HAS COSIGNED ANOTHER HISTORY',
  silent: 'does not answer',
  'knows-nothing': 'does not know this gateway',
};

function deviceLines(device: DeviceReport): string[] {
  const { records, numbered, first, last, missing, missingCount, repeated, blocksUnknown } = device;
  const bounds = numbered > 0 ? `, ${numbered} of them numbered ${first} to ${last}` : ', none numbered';
  const facts = [
    missingCount > 0 ? `${count(missingCount, 'number')} MISSING` : null,
    repeated > 0 ? `${count(repeated, 'number')} came again` : null,
    blocksUnknown > 0 ? `${count(blocksUnknown, 'block')} without a word on it` : null,
    numbered > 0 && device.complete ? 'all are here' : null,
  ].filter((fact) => fact !== null);
  const spans = missing
    .slice(0, 10)
    .map((span) => (span.first === span.last ? span.first : `${span.first}–${span.last}`));
  return [
    line(
      'device',
      `${device.device}: ${count(records, 'record')}${bounds}${facts.length > 0 ? `; ${facts.join(', ')}` : ''}`,
    ),
    ...(spans.length > 0
      ? [line('', `missing: ${spans.join(', ')}${missing.length > 10 ? ', …' : ''}`)]
      : []),
  ];
}

function signatureText({ status, trust, cosigned }: AuditReport): string {
  const by = {
    policy: 'key from the policy',
    'gateway-key': 'key given',
    genesis: 'key named by its own genesis block',
  }[trust];
  const who = cosigned.length > 0 ? `; cosigned by ${cosigned.join(', ')}` : '';
  return `${{ final: 'final', pending: 'pending', 'signed-by-gateway-only': 'signed by the gateway only', unsigned: 'NOT SIGNED by a trusted key' }[status]} (${by})${who}`;
}

function findingLines(findings: readonly Finding[], total: number): string[] {
  const lines = findings.slice(0, SHOWN_MAX).map(({ severity, code, file, position, message }) => {
    return line(severity, `${code} ${file}${position === null ? '' : ` at byte ${position}`}: ${message}`);
  });
  if (total > lines.length) lines.push(line('', `… and ${count(total - lines.length, 'more finding')}`));
  return lines;
}
