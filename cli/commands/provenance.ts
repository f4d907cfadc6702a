// `tidemark provenance`: where a record came from and where it went, or everything between two times.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { localProofs } from '../../gateway/api/proofs.ts';
import { coldFs } from '../../gateway/cold/cold-fs.ts';
import { realFs } from '../../gateway/log/fs.ts';
import { openReader } from '../../gateway/log/reader.ts';
import { leafSource } from '../../gateway/log/retention/leaf-files.ts';
import { StateStore } from '../../gateway/state/state.ts';
import { offset } from '../../ledger/format/brand.ts';
import { SOURCE } from '../../ledger/format/record.ts';
import { refusalLines } from '../../ledger/fsck/report.ts';
import type { FlowReport, RecordProvenance, SinkState } from '../../ledger/provenance/answers.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { expectDataDir, withDataDir } from '../data-dir.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { fetchFrom, type Problem } from '../http.ts';
import { timeOf } from '../wanted.ts';

type Asked =
  | { readonly kind: 'record'; readonly at: number }
  | { readonly kind: 'flow'; readonly fromMs: number; readonly toMs: number };

export async function run(invocation: Invocation): Promise<ExitCode> {
  const asked = askedOf(invocation);
  const url = invocation.text('url');
  const { config } = withDataDir(loadConfig(invocation.text('config'), process.env), invocation);
  const answer = url === undefined ? await fromDirectory(config, asked) : await fromGateway(url, asked);
  process.stdout.write(
    invocation.flag('json')
      ? `${JSON.stringify(answer)}\n`
      : `${('record' in answer ? recordLines(answer) : flowLines(answer)).join('\n')}\n`,
  );
  const isBad = 'record' in answer ? answer.intact === false : answer.records.changed > 0;
  return isBad ? EXIT.negative : EXIT.ok;
}

function askedOf(invocation: Invocation): Asked {
  const at = invocation.whole('offset', { min: 0, max: Number.MAX_SAFE_INTEGER });
  const [from, to] = [invocation.text('from'), invocation.text('to')];
  if (at !== undefined && from === undefined && to === undefined) return { kind: 'record', at };
  if (at === undefined && from !== undefined)
    return {
      kind: 'flow',
      fromMs: timeOf(from, 'from'),
      toMs: to === undefined ? Date.now() : timeOf(to, 'to'),
    };
  throw new CommandError(EXIT.usage, 'give the --offset of a record, or --from and --to');
}

async function fromDirectory(
  { dataDir, cold }: GatewayConfig,
  asked: Asked,
): Promise<RecordProvenance | FlowReport> {
  expectDataDir(dataDir, 'give --data-dir, or --url of a running gateway');
  const fs = cold ? coldFs(dataDir, cold) : realFs;
  const reader = await openReader({ dataDir, fs });
  try {
    const proofs = localProofs(reader, dataDir, leafSource(dataDir, fs));
    if (asked.kind === 'flow') {
      const flow = await proofs.flow(asked);
      return { ...flow, sinks: sinksAt(dataDir, flow.offsets.end - 1) };
    }
    const answer = await proofs.provenance(offset(asked.at));
    if (answer.kind === 'provenance') return { ...answer.provenance, sinks: sinksAt(dataDir, asked.at) };
    const where = answer.block ? `; block ${answer.block.height} sealed it` : ', and no block covers it';
    throw new CommandError(EXIT.unable, `the log does not hold record ${asked.at}${where}`);
  } finally {
    await reader.close();
  }
}

/** Forwarders by their cursors. */
function sinksAt(dataDir: string, at: number): SinkState[] {
  if (!existsSync(join(dataDir, 'state.db'))) return [];
  const state = new StateStore(dataDir);
  try {
    return state
      .cursors()
      .filter(({ consumer }) => consumer.startsWith('forwarder:'))
      .map(({ consumer, next }) => ({ name: consumer.slice('forwarder:'.length), next, passed: next > at }));
  } finally {
    state.close();
  }
}

async function fromGateway(url: string, asked: Asked): Promise<RecordProvenance | FlowReport> {
  if (asked.kind === 'record')
    return (await ask(url, `/api/v1/records/${asked.at}/provenance`)) as RecordProvenance;
  const path = `/api/v1/provenance?from_ms=${asked.fromMs}&to_ms=${asked.toMs}`;
  let whole = (await ask(url, path)) as FlowReport;
  while (whole.nextHeight !== null)
    whole = joined(whole, (await ask(url, `${path}&height=${whole.nextHeight}`)) as FlowReport);
  return whole;
}

async function ask(url: string, path: string): Promise<unknown> {
  const response = await fetchFrom(url, path);
  if (response.ok) return response.json();
  const { detail } = (await response.json().catch(() => ({}))) as Problem;
  throw new CommandError(EXIT.unable, `${url}: ${detail ?? response.statusText}`);
}

/** Two answers of one question; devices that are in both are counted in the larger of the two only. */
function joined(a: FlowReport, b: FlowReport): FlowReport {
  const sum = (left: Readonly<Record<string, number>>, right: Readonly<Record<string, number>>) =>
    Object.fromEntries(
      [...new Set([...Object.keys(left), ...Object.keys(right)])].map((key) => [
        key,
        (left[key] ?? 0) + (right[key] ?? 0),
      ]),
    );
  return {
    ...b,
    blocks: a.blocks && b.blocks ? { first: a.blocks.first, last: b.blocks.last } : (a.blocks ?? b.blocks),
    kinds: sum(a.kinds, b.kinds),
    criticalBlocks: a.criticalBlocks + b.criticalBlocks,
    declared: [...a.declared, ...b.declared],
    refusals: {
      refused: sum(a.refusals.refused, b.refusals.refused),
      dropped: sum(a.refusals.dropped, b.refusals.dropped),
    },
    offsets: a.blocks ? { first: a.offsets.first, end: b.blocks ? b.offsets.end : a.offsets.end } : b.offsets,
    records: {
      intact: a.records.intact + b.records.intact,
      changed: a.records.changed + b.records.changed,
      notHeld: a.records.notHeld + b.records.notHeld,
      bySource: sum(a.records.bySource, b.records.bySource),
      payloadBytes: a.records.payloadBytes + b.records.payloadBytes,
      devices: Math.max(a.records.devices, b.records.devices),
    },
  };
}

const SOURCES = new Map<number, string>(Object.entries(SOURCE).map(([name, value]) => [value, name]));
const line = (label: string, text: string) => `${label.padEnd(11)} ${text}`;
const iso = (ms: number) => (Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms`);

function recordLines(answer: RecordProvenance): string[] {
  const { record, block, checkpoint, usedBy, madeFrom, intact } = answer;
  const numbered = record.sequence === null ? 'not numbered' : `number ${record.sequence}`;
  const status = checkpoint?.final === null ? '' : checkpoint?.final ? ', final' : ', pending';
  return [
    line('device', `${record.device || 'unknown'}, ${numbered}, by ${SOURCES.get(record.source)}`),
    line(
      'record',
      `offset ${record.offset}, ${record.topic}, ${record.payloadBytes} bytes, event ${iso(record.eventMs)}, received ${iso(record.receivedMs)}`,
    ),
    ...(madeFrom
      ? [
          line(
            'made from',
            'offset' in madeFrom
              ? `record ${madeFrom.offset}`
              : `records of ${iso(madeFrom.fromMs)} to ${iso(madeFrom.toMs)}`,
          ),
        ]
      : []),
    ...usedBy.map(({ offset: at, kind, topic, height }) =>
      line(
        'used by',
        `${kind} ${topic}, offset ${at}${height === null ? ', not sealed yet' : `, block ${height}`}`,
      ),
    ),
    ...(answer.usedByComplete ? [] : [line('', `uses looked for up to offset ${answer.searchedTo} only`)]),
    block
      ? line(
          'block',
          `${block.height}, offsets ${block.first} to ${block.first + block.count - 1}, sealed ${iso(block.sealedMs)}${block.critical.length > 0 ? `, critical: ${block.critical.join(', ')}` : ''}`,
        )
      : line('block', 'not sealed yet'),
    line(
      'integrity',
      intact === true
        ? 'leads to the sealed root'
        : intact === false
          ? 'CHANGED: does not lead to the sealed root'
          : 'not known: not sealed yet, or its block is no longer whole',
    ),
    checkpoint
      ? line('checkpoint', `${checkpoint.origin}, ${checkpoint.size} blocks${status}`)
      : line('checkpoint', '–'),
    ...sinkLines(answer.sinks),
  ];
}

function flowLines(flow: FlowReport): string[] {
  const { blocks, offsets, records, declared, kinds } = flow;
  const bySource = Object.entries(records.bySource).map(
    ([source, n]) => `${n} ${SOURCES.get(Number(source)) ?? source}`,
  );
  return [
    line('between', `${iso(flow.fromMs)} and ${iso(flow.toMs)}, by the time of sealing`),
    blocks
      ? line(
          'blocks',
          `${blocks.first} to ${blocks.last}: ${Object.entries(kinds)
            .map(([kind, n]) => `${n} ${kind}`)
            .join(', ')}${flow.criticalBlocks > 0 ? `; ${flow.criticalBlocks} critical` : ''}`,
        )
      : line('blocks', 'none'),
    line('offsets', offsets.end > offsets.first ? `${offsets.first} to ${offsets.end - 1}` : 'none'),
    line(
      'records',
      `${records.intact} lead to their sealed roots${records.changed > 0 ? `, ${records.changed} in CHANGED blocks` : ''}${records.notHeld > 0 ? `, ${records.notHeld} no longer held` : ''}`,
    ),
    line(
      '',
      `${bySource.join(', ') || 'none'}; ${records.payloadBytes} bytes of payload, ${records.devices} devices`,
    ),
    ...declared.map(({ height, kind, cause, count }) =>
      line('declared', `block ${height}: ${kind}, ${cause}${count > 0 ? `, ${count} offsets` : ''}`),
    ),
    ...refusalLines(flow.refusals),
    ...sinkLines(flow.sinks),
  ];
}

const sinkLines = (sinks: readonly SinkState[]) =>
  sinks.map(({ name, next, passed }) =>
    line(
      'forwarder',
      `${name}: ${passed ? 'has dealt with it' : 'not there yet'}, acknowledged before offset ${next}`,
    ),
  );
