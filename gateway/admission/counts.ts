// Counts what became of submissions since start, each in exactly one place. Decides nothing.
import { SOURCE } from '../../ledger/format/record.ts';
import type { ClockFlag } from '../codecs/clock.ts';
import type { Candidate } from './judge.ts';
import type { IngestSource, Outcome, RejectReason, ShedReason } from './types.ts';

const SOURCE_NAMES: Readonly<Record<number, IngestSource>> = {
  [SOURCE.mqtt]: 'mqtt',
  [SOURCE.websocket]: 'websocket',
  [SOURCE.http]: 'http',
};

export const sourceName = (source: number): IngestSource => SOURCE_NAMES[source] ?? 'mqtt';

export class Counts {
  readonly accepted: Record<IngestSource, number> = { mqtt: 0, websocket: 0, http: 0 };
  readonly refused: Record<IngestSource, number> = { mqtt: 0, websocket: 0, http: 0 };
  readonly rejected: Record<RejectReason, number> = {
    malformed: 0,
    'bad-topic': 0,
    'too-large': 0,
    'not-allowed': 0,
    invalid: 0,
  };
  readonly shed: Record<ShedReason, number> = {
    overloaded: 0,
    'rate-limited': 0,
    'disk-full': 0,
    unavailable: 0,
  };
  readonly dropped: Record<ShedReason, number> = { ...this.shed };
  readonly clock: Record<ClockFlag, number> = { ahead: 0, behind: 0 };
  readonly misfits = { quarantined: 0, tagged: 0 };
  duplicates = 0;

  reject(source: IngestSource, reason: RejectReason): void {
    this.refused[source] += 1;
    this.rejected[reason] += 1;
  }

  outcome(source: IngestSource, outcome: Outcome): void {
    if (outcome.kind === 'stored') this.accepted[source] += 1;
    else if (outcome.kind === 'duplicate') this.duplicates += 1;
    else if (outcome.kind === 'reject') this.reject(source, outcome.reason);
    else {
      this.refused[source] += 1;
      this.shed[outcome.reason] += 1;
      if (outcome.dropped) this.dropped[outcome.reason] += 1;
    }
  }

  /** What is odd about a record that was stored. */
  stored({ clock, misfit }: Candidate): void {
    if (clock !== null) this.clock[clock] += 1;
    if (misfit !== null) this.misfits[misfit === 'quarantine' ? 'quarantined' : 'tagged'] += 1;
  }
}
