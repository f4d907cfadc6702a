// Connects pressure to what it is made of: figures of the log, lags of the stages. Decides nothing.
import { Pressure } from '../../gateway/admission/pressure.ts';
import type { Log } from '../../gateway/log/types.ts';
import type { StageFigures } from '../../gateway/stage/types.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { Stages } from './stages.ts';

/** `queuedBytes`: of records that wait before the log. */
export function pressureOf(
  config: GatewayConfig,
  log: Log,
  stages: Stages,
  queuedBytes: () => number,
): Pressure {
  /** Stages report records; how many bytes of the log those are is told by what the log holds. */
  const bytesOf = (lag: number): number => {
    const { start, end, bytes } = log.figures();
    return end > start ? (lag * bytes) / (end - start) : 0;
  };
  /** A worst lag of none is 0: a stage that has not reported yet has nothing to hold against anyone. */
  const worstLag = (isMeant: (name: string) => boolean): number => {
    const figures: Readonly<Record<string, StageFigures>> = stages.figures();
    const lags = Object.entries(figures).map(([name, { lag }]) =>
      isMeant(name) && typeof lag === 'number' ? lag : 0,
    );
    return Math.max(0, ...lags);
  };
  return new Pressure(config.pressure, {
    waitingBytes: () => {
      const { pendingBytes, unsyncedBytes } = log.figures();
      return pendingBytes + unsyncedBytes + queuedBytes();
    },
    unsealedBytes: () => bytesOf(worstLag((name) => name === 'sealer')),
    unforwardedBytes: () => bytesOf(worstLag((name) => name.startsWith('forwarder:'))),
    // Where old segments make room for new ones, a full disk is nothing to refuse a record for.
    diskLeftBytes: () => (config.log.whenFull === 'drop-oldest' ? null : log.figures().diskFreeBytes),
  });
}
