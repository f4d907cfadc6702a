// An audit's report as one HTML page to print or keep: no scripts, nothing loaded. Everything shown is escaped, because names
// come from devices and files from whoever is audited.
import type { AuditReport } from './audit.ts';
import { formatReport } from './report.ts';

const STYLE = `body{font:14px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#16202a}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:1.6rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #d8dee4}
td{overflow-wrap:anywhere}.clean{color:#176639}.problems{color:#a3161b}.error td:first-child{color:#a3161b;font-weight:600}
pre{white-space:pre-wrap;background:#f4f6f8;padding:.8rem}@media print{body{margin:0}}`;

const escaped = (text: unknown): string =>
  String(text).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

const row = (cells: readonly unknown[], tag = 'td', name = '') =>
  `<tr${name && ` class="${name}"`}>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('')}</tr>`;

const table = (head: readonly string[], rows: readonly string[]) =>
  `<table><thead>${row(head, 'th')}</thead><tbody>${rows.join('\n')}</tbody></table>`;

/** @param at when the audit was, unix ms */
export function formatHtmlReport(report: AuditReport, at: number): string {
  const { checkpoint, verdict, findings, declared, refusals, authorities } = report;
  const origin = checkpoint?.origin ?? 'no checkpoint';
  const parts = [
    `<h1>Audit of ${escaped(origin)}: <span class="${verdict}">${verdict === 'clean' ? 'clean' : 'PROBLEMS'}</span></h1>`,
    `<p>${escaped(new Date(at).toISOString())} by the auditor’s clock, from ${escaped(report.source)}</p>`,
    report.notice ? `<p>${escaped(report.notice)}</p>` : '',
    `<h2>Summary</h2><pre>${escaped(formatReport(report))}</pre>`,
    findings.length > 0
      ? `<h2>Findings (${report.findingCount})</h2>${table(
          ['severity', 'code', 'where', 'what'],
          findings.map(({ severity, code, file, position, message }) =>
            row(
              [severity, code, position === null ? file : `${file} at byte ${position}`, message],
              'td',
              severity,
            ),
          ),
        )}`
      : '<h2>Findings</h2><p>None.</p>',
    declared.length > 0
      ? `<h2>Losses the gateway declared</h2>${table(
          ['block', 'cause', 'offsets'],
          declared.map(({ height, cause, count }) => row([height, cause, count])),
        )}`
      : '',
    Object.keys({ ...refusals.refused, ...refusals.dropped }).length > 0
      ? `<h2>What the gateway says it did not let in</h2>${table(
          ['cause', 'refused, the sender told', 'dropped, the sender not told'],
          [...new Set([...Object.keys(refusals.refused), ...Object.keys(refusals.dropped)])].map((cause) =>
            row([cause, refusals.refused[cause] ?? 0, refusals.dropped[cause] ?? 0]),
          ),
        )}`
      : '',
    authorities.length > 0
      ? `<h2>Authorities</h2>${table(
          ['authority', 'blocks', 'verdict'],
          authorities.map(({ name, size, verdict: word }) => row([name, size ?? '–', word])),
        )}`
      : '',
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Audit of ${escaped(origin)}</title><style>${STYLE}</style></head>
<body>
${parts.filter((part) => part !== '').join('\n')}
</body></html>
`;
}
