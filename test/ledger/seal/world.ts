// A gateway's ledger in a temporary folder, without a log: records are made up and kept in memory. Real disk,
// real state.db, a clock the test moves.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StateStore } from '../../../gateway/state/state.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import { SOURCE, type TelemetryRecord } from '../../../ledger/format/record.ts';
import { loadKeyFile } from '../../../ledger/keys/file.ts';
import {
  type LedgerConfig,
  ledgerSchema,
  type RecoveryFacts,
  type SealerConfig,
} from '../../../ledger/seal/config.ts';
import { fileDisk, type LedgerDisk } from '../../../ledger/seal/disk.ts';
import { type GatewayKey, loadOrCreateGatewayKey, nextKeyPath } from '../../../ledger/seal/key.ts';
import { type OpenedSealer, openSealer } from '../../../ledger/seal/open.ts';
import type { Sealer } from '../../../ledger/seal/sealer.ts';
import type { SubtreeSink } from '../../../ledger/seal/subtrees.ts';

export const ORIGIN = 'plant7.example.com/gw-3';
const encoder = new TextEncoder();

export function madeUpRecord(offset: number, text = `{"value":${offset}}`): TelemetryRecord {
  return {
    offset: offset as Offset,
    eventMs: 1_763_600_000_000 + offset * 10,
    receivedMs: 1_763_600_000_005 + offset * 10,
    topic: `plant/pump-${offset % 3}/vibration`,
    device: `pump-${offset % 3}`,
    sequence: offset % 4 === 0 ? null : offset,
    source: SOURCE.mqtt,
    contentType: 'application/json',
    headers: offset % 5 === 0 ? [['unit', encoder.encode('mm/s')]] : [],
    payload: encoder.encode(text),
    salt: new Uint8Array(offset % 7 === 0 ? 16 : 0),
  };
}

export class TestClock {
  wallMs = 1_763_600_000_000;
  /** A millisecond passes with every look at the wall clock. */
  ticking = false;
  runMs = 0;
  advance(ms: number): void {
    this.wallMs += ms;
    this.runMs += ms;
  }
  nowMs = (): number => (this.ticking ? this.wallMs++ : this.wallMs);
  monotonicMs = (): number => this.runMs;
}

type OpenOptions = Parameters<World['config']>[0] & { readonly subtrees?: SubtreeSink };

export class World {
  readonly dataDir: string;
  readonly clock = new TestClock();
  readonly records: TelemetryRecord[] = [];
  readonly key: GatewayKey;
  /** Every checkpoint text that was ever signed, in order. */
  readonly signedTexts: string[] = [];
  state: StateStore;
  /** Every checkpoint note that was swapped in, in order. */
  readonly signed: { size: number; note: string }[] = [];

  constructor(dataDir = mkdtempSync(join(tmpdir(), 'tidemark-seal-'))) {
    this.dataDir = dataDir;
    this.key = loadOrCreateGatewayKey(dataDir);
    this.state = new StateStore(dataDir);
  }

  get ledgerDir(): string {
    return join(this.dataDir, 'ledger');
  }

  addRecords(count: number): void {
    for (let i = 0; i < count; i += 1) this.records.push(madeUpRecord(this.records.length));
  }

  readRecords = async (first: number, count: number): Promise<TelemetryRecord[]> =>
    this.records.slice(first, first + count);

  config(
    options: {
      bootId?: string;
      recovery?: RecoveryFacts;
      ledger?: Partial<LedgerConfig>;
      origin?: string;
    } = {},
  ): SealerConfig {
    return {
      origin: options.origin ?? ORIGIN,
      software: 'tidemark test',
      bootId: options.bootId ?? '00000000000000aa',
      ledger: { ...ledgerSchema.parse({}), blockRecordsMax: 10, ...options.ledger },
      ...(options.recovery ? { recovery: options.recovery } : {}),
    };
  }

  tryOpen(disk: LedgerDisk = fileDisk, options: OpenOptions = {}): Promise<OpenedSealer> {
    return openSealer({
      dataDir: this.dataDir,
      config: this.config(options),
      disk,
      clock: this.clock,
      key: {
        publicKey: this.key.publicKey,
        sign: (message) => {
          this.signedTexts.push(Buffer.from(message).toString());
          return this.key.sign(message);
        },
      },
      nextKey: loadKeyFile(nextKeyPath(this.dataDir)),
      checkpoints: {
        loadCheckpoint: () => this.state.loadCheckpoint(),
        swapCheckpoint: (expected, size, note) => {
          this.signed.push({ size, note });
          return this.state.swapCheckpoint(expected, size, note);
        },
      },
      subtrees: options.subtrees,
      readRecords: this.readRecords,
      logEnd: this.records.length,
    });
  }

  async open(disk: LedgerDisk = fileDisk, options: OpenOptions = {}): Promise<Sealer> {
    const opened = await this.tryOpen(disk, options);
    if (opened.kind === 'refused') throw new Error(`refused: ${opened.reason}: ${opened.message}`);
    return opened.sealer;
  }

  /** Takes every record there is, cuts what is left over, commits. */
  sealAll(sealer: Sealer): void {
    for (const record of this.records.slice(sealer.next)) {
      sealer.take(record);
      if (sealer.roundFull) sealer.commit();
    }
    sealer.cut();
    sealer.commit();
  }

  close(): void {
    this.state.close();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}
