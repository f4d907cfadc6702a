// What a metric is: name, kind, help, and where in the figures its value stands. Names end in their unit, counters in
// `_total`; the prefix `tidemark_` is put before. Counts nothing itself.
import type { AccessFigures } from '../../access/control.ts';
import type { LogFigures } from '../../log/types.ts';
import type { IngestFigures } from '../deps.ts';
import type { Status } from '../status.ts';

export interface MetricFigures {
  readonly status: Status;
  readonly log: LogFigures;
  readonly ingest: IngestFigures;
  readonly readsRefused: number;
  /** By code of the refusal. */
  readonly callersRefused: Readonly<Record<string, number>>;
  /** Null where there are no names. */
  readonly access: AccessFigures | null;
}

/** One value; or one per value of the metric's label. */
type Values = number | Readonly<Record<string, number>>;
export type Read = (figures: MetricFigures) => Values;

export interface Metric {
  readonly kind: 'counter' | 'gauge';
  readonly name: string;
  readonly help: string;
  readonly read: Read;
  readonly label: string | undefined;
}

export const gauge = (name: string, help: string, read: Read, label?: string): Metric => {
  return { kind: 'gauge', name, help, read, label };
};
export const counter = (name: string, help: string, read: Read, label?: string): Metric => {
  return { kind: 'counter', name, help, read, label };
};
