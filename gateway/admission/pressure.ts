// Combines how full the gateway is into one value, 0 to 1, and says when that is too full to admit more. Reads figures
// it is given, at most every 100 ms; measures nothing itself and holds no queue.
import type { PressureConfig } from './config.ts';
import type { ShedReason } from './types.ts';

/** What has to be gone through still, and what is left. Called at most every 100 ms. */
export interface PressureSources {
  /** Bytes in the log's buffers and written ones that wait for their sync. */
  waitingBytes(): number;
  /** Bytes of the log that the sealer has not sealed. */
  unsealedBytes(): number;
  /** Bytes of the log that the slowest forwarder has not sent. */
  unforwardedBytes(): number;
  /** Free space on the data directory's disk; null where it is not known, or not for admission to mind. */
  diskLeftBytes(): number | null;
}

export interface PressureParts {
  readonly log: number;
  readonly sealer: number;
  readonly forwarders: number;
  readonly disk: number;
}

export interface PressureFigures {
  /** The greatest of its parts. */
  readonly value: number;
  /** Each 0 to 1. */
  readonly parts: PressureParts;
}

const KEEP_MS = 100;

export class Pressure {
  #config: PressureConfig;
  readonly #sources: PressureSources;
  readonly #clock: () => number;
  #figures: PressureFigures = { value: 0, parts: { log: 0, sealer: 0, forwarders: 0, disk: 0 } };
  #readMs = Number.NEGATIVE_INFINITY;

  /** `clock`: monotonic ms. */
  constructor(config: PressureConfig, sources: PressureSources, clock = () => performance.now()) {
    this.#config = config;
    this.#sources = sources;
    this.#clock = clock;
  }

  /** Other bounds, from now on. */
  update(config: PressureConfig): void {
    this.#config = config;
    this.#readMs = Number.NEGATIVE_INFINITY;
  }

  get figures(): PressureFigures {
    const nowMs = this.#clock();
    if (nowMs - this.#readMs >= KEEP_MS) {
      this.#readMs = nowMs;
      this.#figures = this.#read();
    }
    return this.#figures;
  }

  /** Why a record is not to be admitted now, or null. `unacknowledged`: its sender does not learn what became of it. */
  refusal(unacknowledged: boolean): Extract<ShedReason, 'overloaded' | 'disk-full'> | null {
    const { value, parts } = this.figures;
    const { shedAt, shedUnacknowledgedAt } = this.#config;
    if (value < (unacknowledged ? shedUnacknowledgedAt : shedAt)) return null;
    return parts.disk === value ? 'disk-full' : 'overloaded';
  }

  #read(): PressureFigures {
    const { waitingBytes, unsealedBytes, unforwardedBytes, diskLeftBytes } = this.#config;
    const left = this.#sources.diskLeftBytes();
    const parts = {
      log: share(this.#sources.waitingBytes(), waitingBytes),
      sealer: share(this.#sources.unsealedBytes(), unsealedBytes),
      forwarders: share(this.#sources.unforwardedBytes(), unforwardedBytes),
      // The other way round: half of it when twice as much is left.
      disk: left === null ? 0 : share(diskLeftBytes, left),
    };
    return { value: Math.max(...Object.values(parts)), parts };
  }
}

function share(amount: number, full: number): number {
  if (amount <= 0) return 0;
  return full <= 0 ? 1 : Math.min(1, amount / full);
}
