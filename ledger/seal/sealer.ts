// Turns durable records into blocks, tiles and a signed checkpoint, in the one order in which a crash cannot make two
// histories. Opened by open.ts only, which settles what an earlier run left; refuses to go on after a failed round.
import type { Clock } from '../../gateway/stage/clock.ts';
import { toBase64 } from '../format/base64.ts';
import { type Block, encodeBlock } from '../format/block.ts';
import { CLOCK_STEP_CAUSE } from '../format/block-rules.ts';
import type { BlockHeight, Offset, TreeSize } from '../format/brand.ts';
import type { JsonObject } from '../format/canonical.ts';
import { type Checkpoint, formatCheckpoint } from '../format/checkpoint.ts';
import { ChainEpochs, checkKeyChange, checkPolicyChange, NO_POLICY_HASH } from '../format/epochs.ts';
import { CodedError } from '../format/errors.ts';
import { EMPTY_ROOT, equalBytes, HASH_BYTES } from '../format/hash.ts';
import { formatNote, parseNote } from '../format/note.ts';
import { policyHash } from '../format/policy.ts';
import type { TelemetryRecord } from '../format/record.ts';
import { CHECKPOINT_PATH, FINAL_CHECKPOINT_PATH, TILE_WIDTH } from '../format/tile.ts';
import { nodeEd25519 } from '../keys/ed25519.ts';
import { devicesDetailInPlace } from '../tiles/devicetree.ts';
import { Batch, type CutBatch } from './batch.ts';
import type { RecoveryFacts, SealerConfig } from './config.ts';
import type { LedgerDisk } from './disk.ts';
import type { TreeEdge } from './edge.ts';
import type { GatewayKey } from './key.ts';
import type { LastBlock } from './stored.ts';
import type { BlockSubtrees, SubtreeSink } from './subtrees.ts';
import type { TileFiles } from './tilefiles.ts';

/** Blocks of one commit: they share one sync and one checkpoint. Fewer than a tile has, see TileFiles.clearStrays. */
export const ROUND_BLOCKS_MAX = 64;

/** Partial tiles that stay beside the newest, for those who copy the folder while it grows. */
const NARROWER_KEPT = 8;

/** Form of the segments and of the record bytes inside them; named in the genesis block. */
const LOG_FORMAT = 'kafka-record-batch-v2';
const RECORD_FORMAT = 1;

const encoder = new TextEncoder();

/** The part of StateStore the sealer needs. */
export interface CheckpointStore {
  loadCheckpoint(): { size: number; note: string } | null;
  swapCheckpoint(expectedSize: number | null, size: number, note: string): boolean;
}

export interface SealerPorts {
  readonly dataDir: string;
  readonly config: SealerConfig;
  readonly disk: LedgerDisk;
  readonly clock: Clock;
  readonly key: GatewayKey;
  /** During a key rotation: the key that takes over. */
  readonly nextKey?: GatewayKey | null;
  readonly checkpoints: CheckpointStore;
  /** Gets what spares proofs work; without it they read whole blocks. */
  readonly subtrees?: SubtreeSink | undefined;
}

type SealErrorCode = 'CHECKPOINT_TAKEN' | 'SEALER_FAILED' | 'KEY_NOT_HELD';

export class SealError extends CodedError<SealErrorCode> {
  override name = 'SealError';

  constructor(code: SealErrorCode, message: string, cause?: unknown) {
    super(code, message, { cause });
  }
}

/** What opening found; see open.ts. */
export interface SealerState {
  /** Null before the genesis block. */
  readonly epochs: ChainEpochs | null;
  readonly files: TileFiles;
  readonly edge: TreeEdge;
  readonly last: LastBlock | null;
  readonly signedSize: number;
  /** The note of that size; null for none. */
  readonly signedNote: string | null;
}

export interface SealedRound {
  /** Blocks in the signed tree. */
  readonly size: TreeSize;
  /** One past the last sealed offset. */
  readonly sealedEnd: Offset;
  readonly blocks: number;
}

/** Blocks take form in memory as they are cut and become true together in commit(). */
export class Sealer {
  #ports: SealerPorts;
  #epochs: ChainEpochs | null;
  readonly #files: TileFiles;
  readonly #edge: TreeEdge;
  #batch: Batch;
  #last: LastBlock | null;
  #signedSize: number;
  #signedNote: string | null;
  /** Rules that the records gathered have met; empty while they are none of a critical block. */
  readonly #rules = new Set<string>();
  #urgent = false;
  /** Of blocks cut and not yet signed. */
  #subtrees: BlockSubtrees[] = [];
  #failed = false;

  constructor(ports: SealerPorts, state: SealerState) {
    this.#ports = ports;
    this.#epochs = state.epochs;
    this.#files = state.files;
    this.#edge = state.edge;
    this.#last = state.last;
    this.#signedSize = state.signedSize;
    this.#signedNote = state.signedNote;
    this.#batch = new Batch(this.#coveredEnd, ports.config.ledger.blockRecordsMax);
  }

  get #coveredEnd(): number {
    return this.#last ? this.#last.block.first + this.#last.block.count : 0;
  }

  /** The offset of the next record to take. */
  get next(): Offset {
    return this.#batch.next as Offset;
  }

  /** Records taken and not yet in a block. */
  get gathered(): number {
    return this.#batch.count;
  }

  /** Blocks cut and not yet signed. */
  get uncommitted(): number {
    return this.#edge.size - this.#signedSize;
  }

  get roundFull(): boolean {
    return this.uncommitted >= ROUND_BLOCKS_MAX;
  }

  get last(): Block | null {
    return this.#last?.block ?? null;
  }

  /** Policies and keys of the chain. Only after beginBoot. */
  get epochs(): ChainEpochs {
    return this.#epochs!;
  }

  /** The newest checkpoint signed, with the gateway's signature alone. */
  get signed(): { readonly size: number; readonly note: string } | null {
    return this.#signedNote === null ? null : { size: this.#signedSize, note: this.#signedNote };
  }

  /** Critical records were taken that are not signed over yet. */
  get urgent(): boolean {
    return this.#urgent;
  }

  /** Takes the record at `next`; cuts a block when it is full. Critical records, by `rule`, share blocks with their like only. */
  take(record: TelemetryRecord, rule: string | null = null): void {
    if ((rule !== null) !== this.#rules.size > 0) this.cut();
    if (rule !== null) {
      this.#rules.add(rule);
      this.#urgent = true;
    }
    this.#batch.add(record);
    if (this.#batch.full) this.cut();
  }

  /** Makes a block of what was gathered, if anything was. */
  cut(): void {
    if (this.#batch.count === 0) return;
    const cut = this.#batch.cut();
    const critical = this.#rules.size > 0 ? { critical: [...this.#rules].sort() } : {};
    this.#rules.clear();
    this.#append('data', { ...devicesDetailInPlace(cut.devices), ...critical }, cut);
  }

  /** A block that says: alive, nothing arrived; and what was refused, if anything was. */
  heartbeat(losses: JsonObject | null = null): void {
    this.#append('heartbeat', losses);
  }

  /** Declares a loss; `lost` offsets from `next` on will never be sealed. */
  gap(detail: JsonObject, lost = 0): void {
    this.cut();
    this.#append('gap', detail, { ...this.#nothing(), count: lost });
    if (lost > 0) this.#batch = new Batch(this.#coveredEnd, this.#ports.config.ledger.blockRecordsMax);
  }

  /** Declares that records of earlier blocks are going to be removed. */
  prune(detail: JsonObject): void {
    this.#append('prune', detail);
  }

  /**
   * A new policy, in force from this block on; the statement must carry its signatures: see epochs.ts. Commit what was cut
   * before, and this at once after. @throws FormatError when it does not, and nothing was appended then
   */
  changePolicy(note: string): void {
    const statement = checkPolicyChange(parseNote(note), this.epochs, nodeEd25519);
    this.cut();
    this.#append('policy', { epoch: statement.epoch, note }, this.#nothing(), policyHash(statement.text));
  }

  /** The next key takes over: the checkpoint that holds this block is signed by both. As changePolicy. */
  changeKey(note: string, nextKey: GatewayKey): void {
    const { next } = checkKeyChange(parseNote(note), this.epochs, nodeEd25519);
    if (!equalBytes(next.publicKey, nextKey.publicKey))
      throw new SealError('KEY_NOT_HELD', 'the key statement names another key than the one held');
    this.cut();
    this.#ports = { ...this.#ports, nextKey };
    this.#append('key', { note });
  }

  /** Serves the newest checkpoint with the cosignatures it has by now; false where a newer one was signed since. */
  serve(note: string): boolean {
    if (this.#signedNote === null || parseNote(note).text !== parseNote(this.#signedNote).text) return false;
    this.#files.replace(CHECKPOINT_PATH, encoder.encode(note));
    return true;
  }

  /** Keeps the newest checkpoint that a quorum has cosigned beside it. */
  serveFinal(note: string): void {
    this.#files.replace(FINAL_CHECKPOINT_PATH, encoder.encode(note));
  }

  /** Genesis on an empty chain; on the first start of a run, what recovery found. */
  beginBoot(recovery: RecoveryFacts | undefined): void {
    const { config, key } = this.#ports;
    if (!this.#last) {
      this.#append('genesis', {
        publicKey: toBase64(key.publicKey),
        software: config.software,
        logFormat: LOG_FORMAT,
        recordFormat: RECORD_FORMAT,
      });
    }
    // A stage that is started again within one run finds its own boot id and has nothing new to say.
    if (!recovery || (this.#last!.block.kind !== 'genesis' && this.#last!.block.bootId === config.bootId))
      return;
    if (recovery.truncatedBytes > 0) {
      this.gap({ cause: 'truncated-tail', bytes: recovery.truncatedBytes, at: recovery.at });
    } else if (recovery.unclean) {
      this.gap({ cause: 'unclean-boot', at: recovery.at });
    }
  }

  /**
   * Makes all cut blocks durable, signs and serves them; null when there are none. After an error the sealer is
   * dead: open it again, which settles what a crash at the same place would have left.
   */
  commit(): SealedRound | null {
    if (this.#failed) throw new SealError('SEALER_FAILED', 'an earlier round failed: open the sealer again');
    const blocks = this.uncommitted;
    if (blocks === 0) return null;
    this.#failed = true;
    // A crash here loses only memory: the records are durable in the log and will be cut into blocks again.
    const tiles = this.#edge.unsaved();
    this.#files.write(tiles);
    // A crash here leaves durable blocks without a signature: the next start checks and signs exactly these, so
    // no other tree of this size is ever signed.
    const checkpoint: Checkpoint = {
      origin: this.#ports.config.origin,
      size: this.#edge.size as TreeSize,
      root: this.#edge.root(),
    };
    const note = this.#sign(checkpoint);
    // A crash here loses a signature nobody has seen; Ed25519 gives the same one for the same tree.
    const expected = this.#signedSize === 0 ? null : this.#signedSize;
    if (!this.#ports.checkpoints.swapCheckpoint(expected, checkpoint.size, note)) {
      throw new SealError(
        'CHECKPOINT_TAKEN',
        `state.db no longer holds a checkpoint of ${this.#signedSize} blocks`,
      );
    }
    // A crash here leaves a stored checkpoint that is not served yet: the next start serves it.
    this.#files.replace(CHECKPOINT_PATH, encoder.encode(note));
    // A crash from here on leaves partial tiles nobody needs: the next start removes them.
    this.#edge.saved();
    this.#signedSize = checkpoint.size;
    this.#signedNote = note;
    this.#ports.subtrees?.add(this.#subtrees);
    // A crash before loses them, and proofs of these blocks take longer.
    this.#subtrees = [];
    this.#urgent = this.#rules.size > 0;
    for (const { tile } of tiles) {
      if (tile.width === TILE_WIDTH) this.#files.removePartials(tile);
      else this.#files.thinPartials(tile, NARROWER_KEPT);
    }
    this.#failed = false;
    return { size: checkpoint.size, sealedEnd: this.#coveredEnd as Offset, blocks };
  }

  #sign(checkpoint: Checkpoint): string {
    const text = formatCheckpoint(checkpoint);
    const { key, nextKey } = this.#ports;
    const held = nextKey ? [key, nextKey] : [key];
    const signatures = this.epochs.keysAt(checkpoint.size).flatMap(({ name, keyId, publicKey }) => {
      const signer = held.find((one) => equalBytes(one.publicKey, publicKey));
      return signer ? [{ name, keyId, signature: signer.sign(encoder.encode(text)) }] : [];
    });
    if (signatures.length === 0) throw new SealError('KEY_NOT_HELD', 'the key that is in force is not here');
    return formatNote({ text, signatures });
  }

  #nothing(): Omit<CutBatch, 'devices'> {
    return {
      first: this.#coveredEnd as Offset,
      count: 0,
      root: EMPTY_ROOT,
      subtrees: null,
      eventMinMs: 0,
      eventMaxMs: 0,
    };
  }

  #append(
    kind: Block['kind'],
    detail: JsonObject | null,
    batch = this.#nothing(),
    policy: Uint8Array = this.#epochs?.policy.policy?.hash ?? NO_POLICY_HASH,
    // Read once for a block and the step declared below it: read twice, they could be a millisecond in the wrong order.
    sealedMs = this.#ports.clock.nowMs(),
  ): void {
    const { clock, config } = this.#ports;
    const before = this.#last?.block;
    const isStep = before !== undefined && before.bootId === config.bootId && sealedMs < before.sealedMs;
    if (isStep && detail?.cause !== CLOCK_STEP_CAUSE) {
      const step = { cause: CLOCK_STEP_CAUSE, fromMs: before.sealedMs, toMs: sealedMs };
      this.#append('gap', step, this.#nothing(), undefined, sealedMs);
    }
    const block: Block = {
      origin: config.origin,
      height: this.#edge.size as BlockHeight,
      previous: this.#last?.hash ?? new Uint8Array(HASH_BYTES),
      kind,
      first: batch.first,
      count: batch.count,
      root: batch.root,
      eventMinMs: batch.eventMinMs,
      eventMaxMs: batch.eventMaxMs,
      sealedMs,
      bootId: config.bootId,
      monotonicMs: clock.monotonicMs(),
      policyHash: policy,
      detail,
    };
    this.#last = { block, hash: this.#edge.append(encodeBlock(block)) };
    if (batch.subtrees)
      this.#subtrees.push({ height: block.height, first: block.first, roots: batch.subtrees });
    this.#epochs?.add(block);
    this.#epochs ??= new ChainEpochs(block, nodeEd25519);
  }
}
