// Recognises a message by the id its device gave it (Idempotency-Key, MQTT 5 `message-id`), among the most recent
// ones of all devices. Refuses to take one id for two messages: other bytes under it are a conflict, not a repetition.
import { createHash } from 'node:crypto';
import type { Offset } from '../../ledger/format/brand.ts';
import { RecentMap } from './recent-map.ts';

export const MESSAGE_ID_HEADER = 'message-id';
export const MESSAGE_ID_BYTES_MAX = 256;
/** Of a device and its message id: the first 16 bytes of their SHA-256, as Latin-1. */
export const DIGEST_BYTES = 16;

/** Device ids hold no NUL, so no two pairs are the same text. */
export const messageDigest = (device: string, id: string): string =>
  createHash('sha256').update(`${device}\0${id}`).digest().toString('latin1', 0, DIGEST_BYTES);

/** A message on its way to the disk; its repetitions wait here for the same outcome. */
export interface PendingMessage {
  readonly digest: string;
  readonly fingerprint: number;
  waiting: (() => void)[] | null;
}

export interface KnownMessage {
  readonly fingerprint: number;
  /** Of its record. */
  readonly offset: Offset;
}

export class MessageIds {
  readonly #stored: RecentMap<KnownMessage>;
  readonly #pending = new Map<string, PendingMessage>();
  readonly enabled: boolean;
  #forgotten = 0;

  constructor(maxIds: number) {
    this.enabled = maxIds > 0;
    this.#stored = new RecentMap(Math.max(1, maxIds), () => {
      this.#forgotten += 1;
    });
  }

  get size(): number {
    return this.#stored.size;
  }

  /** Ids that had to make room for others: their repetitions would be stored again. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** Stored before; on its way; known for another message; or null: new. */
  find(digest: string, fingerprint: number): KnownMessage | PendingMessage | 'conflict' | null {
    const known = this.#pending.get(digest) ?? this.#stored.touch(digest) ?? null;
    return known !== null && known.fingerprint !== fingerprint ? 'conflict' : known;
  }

  begin(digest: string, fingerprint: number): PendingMessage {
    const pending: PendingMessage = { digest, fingerprint, waiting: null };
    this.#pending.set(digest, pending);
    return pending;
  }

  /** `offset` null: it was not stored, and the first of those who wait takes its place. */
  settle(pending: PendingMessage, offset: Offset | null): void {
    this.#pending.delete(pending.digest);
    if (offset !== null) this.remember(pending.digest, { fingerprint: pending.fingerprint, offset });
    const waiting = pending.waiting;
    pending.waiting = null;
    if (waiting) for (const go of waiting) go();
  }

  remember(digest: string, known: KnownMessage): void {
    if (this.#stored.touch(digest) === undefined) this.#stored.add(digest, known);
  }

  /** From the least recent on. */
  entries(): Generator<[string, KnownMessage]> {
    return this.#stored.entries();
  }
}
