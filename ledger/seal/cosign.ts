// Between the sealer and the cosigner: hands on every signed checkpoint, serves what comes back, and ends sealing when an
// authority has seen more of this gateway than its disk holds. Never waits for an authority once sealing has begun.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../gateway/stage/clock.ts';
import type { StageContext } from '../../gateway/stage/types.ts';
import { type CosignAlarm, Cosigner, type SignedCheckpoint } from '../cosign/cosigner.ts';
import { decodeMemory, encodeMemory } from '../cosign/memory.ts';
import { offset } from '../format/brand.ts';
import type { ChainEpochs } from '../format/epochs.ts';
import { verifierKey } from '../format/note.ts';
import type { Policy } from '../format/policy.ts';
import { loadKeyFile } from '../keys/file.ts';
import { directoryTiles } from '../tiles/source.ts';
import type { SealerConfig } from './config.ts';
import { nextKeyPath } from './key.ts';
import type { Sealer } from './sealer.ts';

/** Where state.db keeps what is known of the authorities. */
const CURSOR = 'cosigner';
const POLL_MS = 20;

/** What it needs of the sealer's stage. */
export type CosignContext = Pick<
  StageContext<SealerConfig>,
  'config' | 'dataDir' | 'state' | 'report' | 'log'
>;

export class CosignSide {
  readonly #context: CosignContext;
  readonly #clock: Clock;
  #cosigner: Cosigner | null = null;
  #sealer: Sealer | null = null;
  #alarm: CosignAlarm | null = null;

  constructor(context: CosignContext, clock: Clock) {
    this.#context = context;
    this.#clock = clock;
  }

  /** The alarm that ends sealing, once there is one. */
  get rolledBack(): CosignAlarm | null {
    return this.#alarm?.kind === 'rolled-back' ? this.#alarm : null;
  }

  /** Whether every signed checkpoint is as final as it will get, because no authority is asked. */
  get isAlone(): boolean {
    return this.#cosigner === null;
  }

  /** Before anything is signed in this run: has an authority seen more than what was signed here? */
  async ask(epochs: ChainEpochs, signed: SignedCheckpoint): Promise<CosignAlarm | null> {
    this.#use(epochs);
    await this.#cosigner?.probe(signed, this.#context.config.ledger.cosign.startWaitMs);
    return this.rolledBack;
  }

  attach(sealer: Sealer): void {
    this.#sealer = sealer;
    if (!this.#cosigner) this.#use(sealer.epochs);
    const { signed } = sealer;
    if (!this.#cosigner || !signed) return;
    if (this.#cosigner.final) sealer.serveFinal(this.#cosigner.final);
    sealer.serve(this.#cosigner.withCosignatures(signed));
    this.#cosigner.offer(signed);
  }

  committed(): void {
    const signed = this.#sealer?.signed;
    if (signed) this.#cosigner?.offer(signed);
  }

  policyChanged(): void {
    const { policy } = this.#sealer!.epochs.policy;
    if (this.#cosigner && asks(policy)) this.#cosigner.usePolicy(policy);
    else {
      this.#cosigner?.close();
      this.#cosigner = null;
      this.#use(this.#sealer!.epochs);
    }
    this.committed();
  }

  /** The last checkpoint of a run is given a moment to become final; otherwise the next start sees to it. */
  async finish(waitMs: number): Promise<void> {
    const size = this.#sealer?.signed?.size ?? 0;
    const until = this.#clock.monotonicMs() + waitMs;
    while (this.#cosigner?.isHopeful && this.#cosigner.finalSize < size && this.#clock.monotonicMs() < until)
      await sleep(POLL_MS);
    this.#cosigner?.close();
  }

  #use(epochs: ChainEpochs): void {
    const { policy } = epochs.policy;
    if (!asks(policy)) return;
    const { state, dataDir, config, log, report } = this.#context;
    const { cosign } = config.ledger;
    this.#cosigner = new Cosigner(policy, {
      config: cosign,
      ca: cosign.ca === undefined ? undefined : readFileSync(cosign.ca, 'utf8'),
      tiles: directoryTiles(join(dataDir, 'ledger')),
      keysAt: (size) => {
        // A rotation after the day this disk was set back to is not known here, but its key may have been prepared.
        const next = loadKeyFile(nextKeyPath(dataDir));
        return [...epochs.keysAt(size), ...(next ? [verifierKey(epochs.origin, next.publicKey)] : [])];
      },
      monotonicMs: () => this.#clock.monotonicMs(),
      load: () => decodeMemory(state.loadCursor(CURSOR)?.state ?? null),
      save: (memory) => state.saveCursor(CURSOR, offset(0), encodeMemory(memory)),
      onCosigned: (note, _size, final) => this.#serve(note, final),
      onAlarm: (alarm) => {
        this.#alarm = this.rolledBack ?? alarm;
      },
      report,
      log,
    });
  }

  #serve(note: string, final: boolean): void {
    try {
      if (final) this.#sealer?.serveFinal(note);
      this.#sealer?.serve(note);
    } catch (error) {
      // The cosignatures are in state.db; a full disk is the next commit's trouble.
      this.#context.log('warn', 'a cosigned checkpoint could not be written to be served', {
        reason: String(error),
      });
    }
  }
}

const asks = (policy: Policy | null): policy is Policy => policy !== null && policy.quorum !== null;
