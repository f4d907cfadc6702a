// The metrics of the stages: lag, failures, and those of windows and of Sparkplug.
import type { StageFigures } from '../../stage/types.ts';
import type { Status } from '../status.ts';
import { counter, gauge, type Metric, type Read } from './metric.ts';

export const STAGES: readonly Metric[] = [
  gauge(
    'stage_lag_records',
    'Records between the end of the log and the stage’s cursor.',
    ({ status }) => stage(status, (figures) => figures.lag),
    'stage',
  ),
  gauge(
    'stage_running',
    '1 while the stage’s worker runs.',
    ({ status }) => stage(status, (figures) => Number(figures.running === true)),
    'stage',
  ),
  counter(
    'stage_failures_total',
    'Times the stage’s worker failed and was started again.',
    ({ status }) => stage(status, (figures) => figures.failures),
    'stage',
  ),
];

/** Nothing where the stage is switched off. */
const figureOf = (stage: string, figure: string): Read => {
  return ({ status }) => {
    const value = status.stages[stage]?.[figure];
    return typeof value === 'number' ? value : 0;
  };
};

/** Several figures of one stage, by label. */
const figuresOf =
  (stage: string, byLabel: readonly (readonly [label: string, figure: string])[]): Read =>
  ({ status }) => {
    const figures = status.stages[stage] ?? {};
    return Object.fromEntries(byLabel.map(([label, figure]) => [label, Number(figures[figure] ?? 0)]));
  };

const LEFT_OUT = ['late', 'ahead', 'flagged', 'overLimit'].map((reason) => [reason, reason] as const);

export const WINDOWS: readonly Metric[] = [
  counter(
    'windows_left_out_total',
    'Records (overLimit: values) in no window: theirs had been given out; dated too far ahead; flagged for their time; no room.',
    figuresOf('windows', LEFT_OUT),
    'reason',
  ),
  counter(
    'windows_clock_steps_total',
    'Times windows saw the gateway’s clock set back, since the data directory was made.',
    figureOf('windows', 'clockSteps'),
  ),
];

const UNREAD = [
  ['bytes', 'unreadBytes'],
  ['definition', 'unreadDefinitions'],
  ['malformed', 'unreadMalformed'],
  ['too-large', 'unreadTooLarge'],
  ['untyped', 'unreadUntyped'],
  ['missing', 'unreadMissing'],
] as const;

const sparkplug = (figure: string): Read => figureOf('sparkplug', figure);

export const SPARKPLUG: readonly Metric[] = [
  gauge('sparkplug_nodes', 'Sparkplug edge nodes whose births are known.', sparkplug('nodes')),
  gauge('sparkplug_nodes_online', 'Of these, online.', sparkplug('nodesOnline')),
  gauge('sparkplug_devices_online', 'Sparkplug devices online.', sparkplug('devicesOnline')),
  counter('sparkplug_values_total', 'Metric values decoded by name.', sparkplug('values')),
  counter(
    'sparkplug_sequence_gaps_total',
    'Skipped sequence numbers of edge nodes.',
    sparkplug('sequenceGaps'),
  ),
  counter(
    'sparkplug_unknown_aliases_total',
    'Metric values left out because no birth names their alias.',
    sparkplug('unknownAliases'),
  ),
  counter(
    'sparkplug_without_birth_total',
    'Payloads not decoded because their edge node or device has not been born.',
    sparkplug('withoutBirth'),
  ),
  counter(
    'sparkplug_malformed_total',
    'Payloads that are not Sparkplug B, since start.',
    sparkplug('malformed'),
  ),
  counter(
    'sparkplug_unread_values_total',
    'Metric values not decoded, by what keeps them from it.',
    figuresOf('sparkplug', UNREAD),
    'kind',
  ),
  counter(
    'sparkplug_rebirths_requested_total',
    'Rebirth commands sent to edge nodes, since start.',
    sparkplug('rebirthsRequested'),
  ),
  counter(
    'sparkplug_nodes_forgotten_total',
    'Edge nodes that gave way because their number or their metrics are bounded.',
    sparkplug('nodesForgotten'),
  ),
];

function stage(
  status: Status,
  read: (figures: StageFigures) => StageFigures[string] | undefined,
): Record<string, number> {
  const values = Object.entries(status.stages).map(([name, figures]) => [name, read(figures)] as const);
  return Object.fromEntries(
    values.filter((entry): entry is readonly [string, number] => typeof entry[1] === 'number'),
  );
}
