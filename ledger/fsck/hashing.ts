// The checker's SHA-256 (node:crypto) and the root of a batch as its records come by. Independent of the sealer's.
import { hash } from 'node:crypto';
import { EMPTY_ROOT, type Sha256 } from '../format/hash.ts';
import { MerkleRange } from '../format/merkle.ts';
import { createRecordHasher, type TelemetryRecord } from '../format/record.ts';

/** By way of a string: asking crypto.hash for a Buffer takes more than twice as long as the hashing. */
export const nodeSha256: Sha256 = (data) => Buffer.from(hash('sha256', data, 'binary'), 'latin1');

/** Root over records taken one after another; holds O(log n) hashes. */
export class BatchRoot {
  readonly #tree = new MerkleRange({ hash: nodeSha256 });
  readonly #hashRecord: (record: TelemetryRecord) => Uint8Array;
  eventMinMs = 0;
  eventMaxMs = 0;

  constructor(hashRecord = createRecordHasher(nodeSha256)) {
    this.#hashRecord = hashRecord;
  }

  get count(): number {
    return this.#tree.size;
  }

  add(record: TelemetryRecord): void {
    const isFirst = this.count === 0;
    this.eventMinMs = isFirst ? record.eventMs : Math.min(this.eventMinMs, record.eventMs);
    this.eventMaxMs = isFirst ? record.eventMs : Math.max(this.eventMaxMs, record.eventMs);
    this.#tree.append(this.#hashRecord(record));
  }

  /** The leaf hash of a record that is no longer there. */
  addLeaf(hash: Uint8Array): void {
    this.#tree.append(hash);
  }

  root(): Uint8Array {
    return this.count === 0 ? EMPTY_ROOT : this.#tree.root();
  }
}
