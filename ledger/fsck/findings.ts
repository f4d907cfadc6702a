// What a check can find: one shape, a closed set of codes. Decides nothing about exit codes or wording elsewhere.

export type FindingCode =
  // log
  | 'SEGMENT_DAMAGED' // bytes that are not a readable batch, before the end of the log
  | 'SEGMENT_TORN_TAIL' // an unfinished batch at the very end: never acknowledged, unless the ledger says otherwise
  | 'OFFSETS_MISSING' // the next batch begins later than the one before it ends
  | 'OFFSETS_REPEATED' // …or earlier
  | 'BATCH_FOREIGN' // a batch with a right checksum that the gateway cannot have written
  | 'INDEX_MISSING'
  | 'INDEX_WRONG'
  | 'MARKER_WRONG' // log/clean does not say how the log ends
  | 'LEAVES_UNREADABLE' // hashes of removed records: those beside them cannot be proven without
  | 'STRAY_FILE' // a file that has no place there
  // cold tier
  | 'COLD_MISSING' // a manifest names a copy that is not there
  | 'COLD_DAMAGED' // a copy is not what was copied
  | 'COLD_MANIFEST_WRONG'
  | 'COLD_NOT_READ' // nobody said how the cold tier is reached
  // ledger
  | 'CHECKPOINT_MISSING'
  | 'CHECKPOINT_INVALID'
  | 'CHECKPOINT_UNSIGNED' // no valid signature by the gateway's key
  | 'KEY_DIFFERS' // gateway.key is not the key the chain was begun with
  | 'TILE_MISSING'
  | 'TILE_WRONG' // a tile or bundle that does not hold what the blocks say
  | 'BUNDLE_UNREADABLE'
  | 'BLOCK_CHANGED' // the signed hash tiles know another block at this height
  | 'BLOCK_RULE' // a block breaks a rule of the chain
  | 'ROOT_WRONG' // the blocks do not lead to the signed root
  // state.db, access.db
  | 'STATE_DAMAGED' // SQLite cannot read it, or a row is not what was written
  | 'ACCESS_DAMAGED' // the same of access.db
  | 'STATE_BUSY' // no copy as of one moment could be made of it
  | 'CHECKPOINT_DIFFERS' // state.db holds another signed checkpoint than is served
  // what only an audit sees
  | 'ROLLED_BACK' // the chain is shorter than it was
  | 'HISTORY_CHANGED' // the chain does not continue the one that was audited before
  | 'FORKED' // two signed histories: what an authority or an earlier audit saw, and what is shown now
  | 'ORIGIN_CHANGED' // another gateway answers here than the one that was audited before
  | 'AUTHORITY_BEHIND' // an authority's newest checkpoint is older than this one by much
  | 'AUTHORITY_SILENT' // an authority of the policy did not answer, or not as one
  | 'TIMESTAMP_WRONG' // an external timestamp that proves nothing of the checkpoint beside it
  | 'BLOCKS_LATE' // nothing was sealed for longer than the heartbeat allows
  | 'CLOCK_STEPPED' // the wall clock went back between two runs
  | 'DEVICES_WRONG' // the device summary that a block commits to is not that of its records
  | 'SEQUENCE_MISSING' // numbers of the device asked about that no block has
  // log against ledger
  | 'RECORDS_MISSING' // sealed, not declared pruned or lost, and not in the log
  | 'RECORDS_CHANGED' // the log's records do not lead to the sealed batch root
  | 'SEALED_BEYOND_LOG'; // the ledger covers offsets the log never reached

export type Severity = 'error' | 'warning' | 'note';

export interface Finding {
  readonly code: FindingCode;
  /** error: something is lost or changed. warning: can be repaired or made again. note: worth knowing. */
  readonly severity: Severity;
  /** Relative to the data directory (or URL), e.g. log/00000000000000000000.log */
  readonly file: string;
  /** Byte in the file, where one can be named. */
  readonly position: number | null;
  /** One sentence. */
  readonly message: string;
  /** Offsets or heights concerned, for programs. */
  readonly facts: Readonly<Record<string, string | number>>;
}

/** The first `max` findings and how many there were: one broken disk must not fill the memory. */
export class Findings {
  readonly list: Finding[] = [];
  #count = 0;
  #errors = 0;
  #warnings = 0;
  readonly #max: number;

  constructor(max = 1_000) {
    this.#max = max;
  }

  get count(): number {
    return this.#count;
  }

  get errors(): number {
    return this.#errors;
  }

  get warnings(): number {
    return this.#warnings;
  }

  /** Takes over findings collected apart. */
  addAll(findings: readonly Finding[]): void {
    for (const { severity, code, file, position, message, facts } of findings) {
      this.add(severity, code, position === null ? { file } : { file, position }, message, facts);
    }
  }

  add(
    severity: Severity,
    code: FindingCode,
    where: { readonly file: string; readonly position?: number },
    message: string,
    facts: Record<string, string | number> = {},
  ): void {
    this.#count += 1;
    if (severity === 'error') this.#errors += 1;
    if (severity === 'warning') this.#warnings += 1;
    if (this.list.length >= this.#max) return;
    this.list.push({ code, severity, file: where.file, position: where.position ?? null, message, facts });
  }
}
