// Owns comparing a run with what its scenario expects of it. Promises about acknowledged records are the judge's.
import type { Verdict } from './judge.ts';
import type { ScenarioFile } from './scenario-file.ts';
import type { RunReport } from './tally.ts';

export interface Expectation {
  readonly what: string;
  readonly wanted: string;
  readonly got: number;
  /** null: this machine kept the simulator itself from being in time, so that nothing can be said of the gateway. */
  readonly met: boolean | null;
}

/** Of the latency allowed, the simulator may use up this much by its own delay. */
const OWN_SHARE = 0.25;

export function expectationsOf({ expect }: ScenarioFile, report: RunReport, verdict: Verdict): Expectation[] {
  const { injected, found } = verdict.anomalies;
  const least = (what: string, wanted: number | undefined, got: number) =>
    wanted === undefined ? [] : [{ what, wanted: `at least ${wanted}`, got, met: got >= wanted }];
  const most = (what: string, wanted: number | undefined, got: number) =>
    wanted === undefined ? [] : [{ what, wanted: `at most ${wanted}`, got, met: got <= wanted }];
  const inTime = (expectation: Expectation, allowedMs: number): Expectation => {
    const excused = expectation.met === false && report.lateMs.p99 > OWN_SHARE * allowedMs;
    return excused ? { ...expectation, met: null } : expectation;
  };
  return [
    ...least('records acknowledged', expect.ackedMin, report.acked),
    ...most('records refused', expect.refusedMax, report.refused),
    ...most('records given up by devices', expect.droppedMax, report.dropped),
    ...most('records unanswered at the end', expect.pendingMax, report.pending),
    ...least('connections at once', expect.connectedMin, report.connectedMax),
    ...most('99th percentile of ack latency, ms', expect.ackP99MsMax, report.latencyMs.p99).map((latency) =>
      inTime(latency, expect.ackP99MsMax!),
    ),
    ...(injected > 0 ? least('share of faults found', expect.faultsFoundMin, found / injected) : []),
  ];
}
