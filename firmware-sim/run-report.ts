// Owns the words and the page of a judged run: text for a terminal, one HTML file without scripts for keeping.
import type { Expectation } from './expectations.ts';
import type { Offender, Verdict } from './judge.ts';
import { escaped, type Plot, plotSvg, type Series, short } from './plots.ts';
import type { RunReport, Sample } from './tally.ts';

export interface JudgedRun {
  readonly records: Verdict;
  /** Verdict of the audit. */
  readonly ledger: string;
  readonly ok: boolean;
}

export interface RunResult extends JudgedRun {
  readonly report: RunReport;
  readonly expectations: readonly Expectation[];
}

const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
const ms = (value: number) => (value < 10_000 ? `${value.toFixed(1)} ms` : `${(value / 1000).toFixed(1)} s`);
const count = (value: number) => (Number.isInteger(value) ? String(value) : short(value));

function reportLines({ report, expectations }: RunResult): [string, string][] {
  const { latencyMs, apartLatencyMs, gateway } = report;
  const latency = (summary: RunReport['latencyMs']) =>
    `p50 ${ms(summary.p50)}, p90 ${ms(summary.p90)}, p99 ${ms(summary.p99)}, p99.9 ${ms(summary.p999)}, longest ${ms(summary.max)}`;
  const refusals = Object.entries(report.refusals).map(([code, count]) => `${code} ${count}`);
  return [
    [
      'scenario',
      `${report.name}, seed ${report.seed}, ${report.devices} devices, from ${new Date(report.startMs).toISOString()}`,
    ],
    ['made', `${report.made} records; sent ${report.sent} times, ${report.resent} of them again`],
    [
      'acknowledged',
      `${report.acked} (${Math.round(report.acked / report.tookSeconds)}/s over ${report.tookSeconds.toFixed(1)} s), and ${report.duplicates} repetitions`,
    ],
    [
      'refused',
      `${report.refused}${refusals.length > 0 ? ` (${refusals.join(', ')})` : ''}, given up ${report.dropped}, unanswered ${report.pending}`,
    ],
    ['connections', `${report.connectedMax} at once, ${report.lost} lost`],
    ['ack latency', latency(latencyMs)],
    [
      'sent late',
      `p99 ${ms(report.lateMs.p99)}, longest ${ms(report.lateMs.max)}: the simulator’s own delay, part of the above`,
    ],
    ...(apartLatencyMs ? [['set apart', latency(apartLatencyMs)] as [string, string]] : []),
    [
      'gateway',
      `${mib(gateway.rssBytesBefore)} before, ${mib(gateway.rssBytesMax)} at most${gateway.bytesPerConnection === null ? '' : `, ${short(gateway.bytesPerConnection / 1024)} KiB a connection`}`,
    ],
    ['made hash', report.madeHash],
    ...(report.cut ? [['cut short', 'the run was ended before its time'] as [string, string]] : []),
    ...expectations.map(
      ({ what, wanted, got, met }) =>
        [
          'expected',
          `${what} ${wanted}: ${count(got)}${met === null ? `  not judged: the simulator itself was late by ${ms(report.lateMs.p99)}` : met ? '' : '  NOT MET'}`,
        ] as [string, string],
    ),
  ];
}

function verdictLines({ records, ledger }: JudgedRun): [string, string][] {
  const { windows, anomalies, sink } = records;
  return [
    [
      'check',
      `${records.acked} acknowledged: ${records.lost} lost, ${records.doubled} doubled, ${records.reordered} reordered, ${records.changed} changed, ${records.invented} invented`,
    ],
    ['proofs', `${records.unproven} of ${records.proofs} unproven`],
    ['ledger', ledger],
    ...(windows
      ? [
          [
            'windows',
            `${windows.compared} of ${windows.completed} recomputed: ${windows.different} different, ${windows.doubled} doubled, ${windows.missing} missing`,
          ] as [string, string],
        ]
      : []),
    ...(sink
      ? [
          [
            'upstream',
            `${sink.expected} records: ${sink.missing} missing, ${sink.reordered} reordered, ${sink.repeated} repeated`,
          ] as [string, string],
        ]
      : []),
    ...(anomalies.injected > 0
      ? [
          [
            'faults',
            `${anomalies.found} of ${anomalies.injected} labelled ones found${anomalies.unseen > 0 ? `; during ${anomalies.unseen} more nothing was measured` : ''}`,
          ] as [string, string],
          [
            'anomalies',
            `${anomalies.anomalies}, ${anomalies.anomalies - anomalies.falseAlarms} of them on faults; ${short(anomalies.falseAlarms / anomalies.deviceDays)} a device and day of the plant belong to none`,
          ] as [string, string],
        ]
      : []),
  ];
}

const asText = (lines: readonly (readonly [string, string])[]) =>
  lines.map(([name, value]) => `${name.padEnd(14)}${value}\n`).join('');

function offenderLine({ problem, device, sequence, offset, detail }: Offender): string {
  return `${problem}: ${device} #${sequence ?? '-'}${offset === undefined ? '' : ` at offset ${offset}`}${detail === undefined ? '' : `: ${detail}`}`;
}

function offenderLines({ records }: JudgedRun): string[] {
  const windows = records.windows?.offenders ?? [];
  return [
    ...records.offenders.map(offenderLine),
    ...windows.map(
      ({ window, device, startMs, problem, detail }) =>
        `window ${problem}: ${window} of ${device} from ${new Date(startMs).toISOString()}: ${detail}`,
    ),
  ];
}

export function verdictText(run: JudgedRun): string {
  const offenders = offenderLines(run).map((line) => `  ${line}\n`);
  const last = run.ok
    ? 'ok: everything acknowledged is there, once, unchanged, in order and proven'
    : 'FAILED';
  return `${asText(verdictLines(run))}${offenders.join('')}${last}\n`;
}

export function reportText(result: RunResult): string {
  return asText(reportLines(result)) + verdictText(result);
}

export interface Mark {
  readonly x: number;
  readonly label: string;
}

export function plotsOf({ samples }: RunReport): Plot[] {
  const over = (
    name: string,
    value: (sample: Sample) => number,
    only: (sample: Sample) => boolean = () => true,
  ): Series => ({
    name,
    points: samples.map((sample) => [sample.atSeconds, only(sample) ? value(sample) : null] as const),
  });
  const answered = ({ gateway }: Sample) => gateway.up;
  const rate = (name: string, of: (sample: Sample) => number): Series => ({
    name,
    points: samples.slice(1).map((sample, index) => {
      const before = samples[index]!;
      const seconds = Math.max(0.1, sample.atSeconds - before.atSeconds);
      return [sample.atSeconds, Math.max(0, of(sample) - of(before)) / seconds] as const;
    }),
  });
  const latency = (name: string, of: (summary: Sample['latencyMs']) => number): Series => ({
    name,
    points: samples.map(
      ({ atSeconds, latencyMs }) => [atSeconds, latencyMs.count > 0 ? of(latencyMs) : null] as const,
    ),
  });
  return [
    {
      title: 'Throughput',
      unit: 'records/s',
      series: [rate('made', ({ made }) => made), rate('acknowledged', ({ acked }) => acked)],
    },
    {
      title: 'Ack latency from when a record was due',
      unit: 'ms',
      logarithmic: true,
      series: [
        latency('p50', ({ p50 }) => p50),
        latency('p90', ({ p90 }) => p90),
        latency('p99', ({ p99 }) => p99),
        latency('longest', ({ max }) => max),
      ],
    },
    { title: 'Connections', unit: '', series: [over('open', ({ connected }) => connected)] },
    {
      title: 'Refused, given up, sent again',
      unit: '1/s',
      series: [
        rate('refused', ({ refused }) => refused),
        rate('given up', ({ dropped }) => dropped),
        rate('sent again', ({ resent }) => resent),
        rate('connections lost', ({ lost }) => lost),
      ],
    },
    {
      title: 'Waiting in the devices',
      unit: 'records',
      series: [over('outstanding', ({ pending }) => pending)],
    },
    {
      title: 'Memory of the gateway',
      unit: 'MiB',
      series: [over('resident', ({ gateway }) => gateway.rssBytes / 2 ** 20, answered)],
    },
    {
      title: 'Processors used by the gateway',
      unit: 'cores',
      series: [
        over('all threads', ({ gateway }) => gateway.cores, answered),
        over('ingest thread', ({ gateway }) => gateway.ingestThread, answered),
      ],
    },
  ];
}

/**
 * `marks` are moments at which something was done to the gateway, in seconds since the start; `failures` what else than the
 * judgement of the records went wrong.
 */
export function reportHtml(
  result: RunResult,
  marks: readonly Mark[] = [],
  failures: readonly string[] = [],
): string {
  const { report } = result;
  const rows = [...reportLines(result), ...verdictLines(result)].map(
    ([name, value]) => `<tr><th>${escaped(name)}</th><td>${escaped(value)}</td></tr>`,
  );
  const offenders = [...failures, ...offenderLines(result)].map((line) => `<li>${escaped(line)}</li>`);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(report.name)}: ${result.ok ? 'ok' : 'failed'}</title>
<style>
:root{color-scheme:light dark;--ink:#1f2937;--paper:#fff;--faint:#e5e7eb}
@media(prefers-color-scheme:dark){:root{--ink:#e5e7eb;--paper:#111827;--faint:#374151}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:800px;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:600;white-space:nowrap;padding:.2rem 1rem .2rem 0;vertical-align:top}
td{overflow-wrap:anywhere}tr{border-bottom:1px solid var(--faint)}.verdict{font-size:1.2rem;font-weight:600}
svg{width:100%;height:auto;margin-top:1rem}summary{font-weight:600;margin-top:1rem;cursor:pointer}
</style></head><body>
<h1>${escaped(report.name)}</h1><p>${escaped(report.about)}</p>
<p class="verdict">${result.ok ? '✓ everything acknowledged is there, once, unchanged, in order and proven' : '✗ failed'}</p>
${offenders.length > 0 ? `<ul>${offenders.join('')}</ul>` : ''}
<table>${rows.join('')}</table>
${plotsOf(report)
  .map((plot) => plotSvg({ ...plot, marks }))
  .join('\n')}
${marks.length > 0 ? `<details><summary>What was done to the gateway: ${marks.length} times</summary><ol>${marks.map(({ x, label }) => `<li>${x.toFixed(1)} s: ${escaped(label)}</li>`).join('')}</ol></details>` : ''}
</body></html>
`;
}
