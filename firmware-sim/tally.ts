// Owns the counts, latencies and samples of a run as it goes, and their summary. Sends nothing, asks nobody, judges nothing.
import { noSends, type Running, type SendCounts } from './counts.ts';
import type { GatewaySample } from './gateway-figures.ts';
import { LatencyHistogram, type LatencySummary } from './latency.ts';

/** Counts since the start, but for the latencies, which are those of this second. */
export interface Sample extends Counts {
  readonly atSeconds: number;
  readonly connected: number;
  readonly pending: number;
  readonly latencyMs: LatencySummary;
  readonly gateway: GatewaySample;
}

export interface Counts extends SendCounts {
  /** Records the devices made; the same in every run of a seed. */
  readonly made: number;
  /** Connections that ended or could not be made, beyond those that the scenario ends. */
  readonly lost: number;
}

export interface RunReport extends Counts {
  readonly name: string;
  readonly about: string;
  readonly seed: number | string;
  readonly startMs: number;
  readonly devices: number;
  readonly tookSeconds: number;
  readonly pending: number;
  readonly connectedMax: number;
  /** Of everything acknowledged that the scenario itself did not delay, from when it was due; fleets in `apart` apart. */
  readonly latencyMs: LatencySummary;
  readonly apartLatencyMs: LatencySummary | null;
  /** How late this process itself was with what was due: part of the latencies. */
  readonly lateMs: LatencySummary;
  readonly refusals: Readonly<Record<string, number>>;
  readonly gateway: {
    readonly rssBytesBefore: number;
    readonly rssBytesMax: number;
    readonly bytesPerConnection: number | null;
  };
  readonly faults: number;
  /** SHA-256 of all records made and faults injected. */
  readonly madeHash: string;
  /** The run was ended before its time. */
  readonly cut: boolean;
  readonly samples: readonly Sample[];
}

/** One a second for two days; then every second one is left out, again and again. */
const MAX_SAMPLES = 172_800;
/** Below this many connections their memory is lost in the noise of everything else. */
const ENOUGH_CONNECTIONS = 5_000;

type Summary = Counts &
  Pick<
    RunReport,
    'connectedMax' | 'latencyMs' | 'apartLatencyMs' | 'lateMs' | 'refusals' | 'gateway' | 'samples'
  >;

export class Tally {
  readonly counts: Running<Counts> = { made: 0, ...noSends(), lost: 0 };
  readonly late = new LatencyHistogram();
  readonly #latency = new LatencyHistogram();
  readonly #apart = new LatencyHistogram();
  #second = new LatencyHistogram();
  readonly #refusals: Record<string, number> = {};
  #samples: Sample[] = [];
  #connectedMax = 0;
  #rssMax = 0;

  acked(copy: boolean, duplicate: boolean): void {
    // The second send of a record is acknowledged too: it is the same record.
    if (duplicate || copy) this.counts.duplicates += 1;
    if (!copy) this.counts.acked += 1;
  }

  took(latencyMs: number, apart: boolean): void {
    if (apart) this.#apart.record(latencyMs);
    else {
      this.#latency.record(latencyMs);
      this.#second.record(latencyMs);
    }
  }

  refused(code: string): void {
    this.counts.refused += 1;
    this.#refusals[code] = (this.#refusals[code] ?? 0) + 1;
  }

  /** Closes this second. */
  sample(now: Pick<Sample, 'atSeconds' | 'connected' | 'pending' | 'gateway'>): Sample {
    this.#connectedMax = Math.max(this.#connectedMax, now.connected);
    this.#rssMax = Math.max(this.#rssMax, now.gateway.rssBytes);
    const sample = { ...now, ...this.counts, latencyMs: this.#second.summary() };
    this.#second = new LatencyHistogram();
    this.#samples.push(sample);
    if (this.#samples.length > MAX_SAMPLES)
      this.#samples = this.#samples.filter((_, index) => index % 2 === 1);
    return sample;
  }

  summary(rssBytesBefore: number, apart: boolean): Summary {
    const measurable = this.#connectedMax >= ENOUGH_CONNECTIONS && rssBytesBefore > 0;
    return {
      ...this.counts,
      connectedMax: this.#connectedMax,
      latencyMs: this.#latency.summary(),
      apartLatencyMs: apart ? this.#apart.summary() : null,
      lateMs: this.late.summary(),
      refusals: this.#refusals,
      gateway: {
        rssBytesBefore,
        rssBytesMax: this.#rssMax,
        bytesPerConnection: measurable
          ? Math.round((this.#rssMax - rssBytesBefore) / this.#connectedMax)
          : null,
      },
      samples: this.#samples,
    };
  }
}
