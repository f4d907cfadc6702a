// The live figures: first by GET, then by server-sent events, and again whenever the line was down. Keeps only
// what the page shows.

import type { RecordJson } from '../../../ledger/format/record.ts';
import {
  type Anomaly,
  type ApiError,
  anomalyOf,
  type Block,
  getAnomalies,
  getBlocks,
  type RateHistory,
  type Status,
} from './api.ts';
import { listen } from './events.ts';
import { forgetToken, keepToken, tokenGiven } from './token.ts';

/** signed-out: the gateway wants a token, or another one. */
export type Line = 'connecting' | 'live' | 'reconnecting' | 'signed-out';

const KEPT_SECONDS = 300;
export const SHOWN_ANOMALIES = 12;
export const SHOWN_BLOCKS = 8;
/** Figures come each second: without any for this long, the line is taken to be down. */
const SILENCE_MS = 6000;
const RETRY_FIRST_MS = 1000;
const RETRY_MAX_MS = 15_000;

export class Live {
  line = $state<Line>('connecting');
  /** Why the gateway wants a token; '' until it does. */
  problem = $state('');
  hasToken = $state(tokenGiven() !== null);
  status = $state.raw<Status | null>(null);
  anomalies = $state.raw<readonly Anomaly[]>([]);
  blocks = $state.raw<readonly Block[]>([]);
  /** Unix seconds and records per second, oldest first: what the chart draws. */
  rates = $state.raw<readonly [readonly number[], readonly number[]]>([[], []]);
  /** The gateway's clock at the last figures; ages are told by it, not by this computer's clock. */
  nowMs = $derived(this.status?.nowMs ?? Date.now());

  #stop: (() => void) | null = null;
  #silence: ReturnType<typeof setTimeout> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retryMs = RETRY_FIRST_MS;
  #blocksOf = -1;

  start(): () => void {
    this.#connect();
    return () => {
      this.#drop();
      clearTimeout(this.#retry);
    };
  }

  #connect(): void {
    this.#listenForSilence();
    this.#stop = listen('/api/v1/tail', {
      onOpen: () => void this.#catchUp(),
      onEvent: (name, data) => {
        if (name === 'history') this.#onHistory(JSON.parse(data) as RateHistory);
        else if (name === 'figures') this.#onFigures(JSON.parse(data) as Status);
        else if (name === 'record') this.#onRecord(JSON.parse(data) as RecordJson);
      },
      onEnd: (error) => this.#onEnd(error),
    });
  }

  signIn(token: string): void {
    if (!/^[\x21-\x7e]+$/.test(token)) {
      this.problem = 'That is no token: it has letters, digits, - and _ only.';
      return;
    }
    keepToken(token);
    this.hasToken = true;
    this.#again();
  }

  signOut(): void {
    forgetToken();
    this.hasToken = false;
    this.status = null;
    this.anomalies = [];
    this.blocks = [];
    this.#blocksOf = -1;
    this.#again();
  }

  #again(): void {
    this.#drop();
    clearTimeout(this.#retry);
    this.line = 'connecting';
    this.#connect();
  }

  #onEnd(error: ApiError): void {
    if (error.status !== 401 && !(error.status === 403 && error.code === 'not-allowed')) {
      this.#reconnect();
      return;
    }
    this.#drop();
    this.line = 'signed-out';
    this.problem = error.message;
  }

  #drop(): void {
    clearTimeout(this.#silence);
    this.#stop?.();
    this.#stop = null;
  }

  #reconnect(): void {
    this.#drop();
    this.line = 'reconnecting';
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  #listenForSilence(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#reconnect(), SILENCE_MS);
  }

  /** What happened while nobody listened. A failure shows as the line being down; the next figures try again. */
  async #catchUp(): Promise<void> {
    try {
      this.anomalies = await getAnomalies(SHOWN_ANOMALIES);
    } catch {
      this.#reconnect();
    }
  }

  #onHistory(history: RateHistory): void {
    const { endMs, stepMs, recordsPerSecond: rates } = history;
    this.rates = [rates.map((_, i) => (endMs - (rates.length - 1 - i) * stepMs) / 1000), rates];
  }

  #onFigures(status: Status): void {
    this.line = 'live';
    this.#retryMs = RETRY_FIRST_MS;
    this.#listenForSilence();
    this.status = status;
    const [times, rates] = this.rates;
    // The first figures come right behind the history, which ends with nearly the same moment.
    if (status.nowMs / 1000 > (times.at(-1) ?? 0) + 0.5) {
      this.rates = [
        [...times, status.nowMs / 1000].slice(-KEPT_SECONDS),
        [...rates, status.log.recordsPerSecond].slice(-KEPT_SECONDS),
      ];
    }
    if (status.ledger.blocks !== this.#blocksOf) void this.#readBlocks(status.ledger.blocks);
  }

  async #readBlocks(size: number): Promise<void> {
    this.#blocksOf = size;
    try {
      this.blocks = await getBlocks(SHOWN_BLOCKS);
    } catch {
      this.#blocksOf = -1;
    }
  }

  #onRecord(record: RecordJson): void {
    const anomaly = anomalyOf(record);
    if (!anomaly || this.anomalies.some((known) => known.offset === anomaly.offset)) return;
    this.anomalies = [anomaly, ...this.anomalies].slice(0, SHOWN_ANOMALIES);
  }
}
