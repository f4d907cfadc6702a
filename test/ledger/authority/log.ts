// A gateway's block log made up in memory: leaves, signed checkpoints and proofs of any size, and a second history that
// forks off. Real keys, real signatures.
import { formatAddCheckpoint } from '../../../ledger/format/add-checkpoint.ts';
import { treeSize } from '../../../ledger/format/brand.ts';
import { formatCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { leafHash } from '../../../ledger/format/hash.ts';
import { consistencyProof, root } from '../../../ledger/format/merkle.ts';
import { formatNote, formatVerifierKey, verifierKey } from '../../../ledger/format/note.ts';
import { nodeSha256 } from '../../../ledger/tiles/hashing.ts';
import { type TestKey, testKey } from '../format/native.ts';

export const ORIGIN = 'plant7.example.com/gw-3';
const encoder = new TextEncoder();

export class MadeUpLog {
  readonly origin: string;
  readonly key: TestKey;
  readonly leaves: Uint8Array[] = [];

  constructor(
    options: { origin?: string; key?: TestKey; size?: number; history?: string; from?: MadeUpLog } = {},
  ) {
    this.origin = options.origin ?? ORIGIN;
    this.key = options.key ?? testKey('gateway');
    if (options.from) this.leaves.push(...options.from.leaves);
    this.grow(options.size ?? 0, options.history);
  }

  get verifierKey(): string {
    return formatVerifierKey(verifierKey(this.origin, this.key.publicKey));
  }

  grow(count: number, history = 'true'): this {
    for (let i = 0; i < count; i += 1)
      this.leaves.push(leafHash(encoder.encode(`${history} ${this.leaves.length}`), nodeSha256));
    return this;
  }

  text(size = this.leaves.length): string {
    const { origin } = this;
    return formatCheckpoint({
      origin,
      size: treeSize(size),
      root: root(this.leaves.slice(0, size), nodeSha256),
    });
  }

  note(size = this.leaves.length, signers: readonly TestKey[] = [this.key]): string {
    const text = this.text(size);
    const signatures = signers.map((key) => {
      const { name, keyId } = verifierKey(this.origin, key.publicKey);
      return { name, keyId, signature: key.sign(encoder.encode(text)) };
    });
    return formatNote({ text, signatures });
  }

  proof(oldSize: number, size = this.leaves.length): Uint8Array[] {
    return oldSize === 0 || oldSize === size
      ? []
      : consistencyProof(this.leaves.slice(0, size), oldSize, nodeSha256);
  }

  submission(oldSize: number, size = this.leaves.length): string {
    return formatAddCheckpoint({ oldSize, proof: this.proof(oldSize, size), note: this.note(size) });
  }
}
