// What is to be sent to one client within a turn of the event loop, sent as one write: a turn can answer hundreds of
// publishes. Knows no packets but the four-byte acknowledgement, and holds nothing beyond the turn.
import type { Duplex } from 'node:stream';

/** Up to this much is copied together; more goes out as it is, by one gathering system call. */
const COPY_BYTES = 16 * 1024;

/** The outboxes with something to send, flushed together at the end of what is being done. */
class Round {
  #outboxes: Outbox[] = [];
  readonly #flushAll = () => {
    const outboxes = this.#outboxes;
    this.#outboxes = [];
    for (const outbox of outboxes) {
      try {
        outbox.flush();
      } catch (error) {
        // One client's trouble is not the next one's.
        process.nextTick(() => {
          throw error;
        });
      }
    }
  };

  add(outbox: Outbox): void {
    if (this.#outboxes.push(outbox) === 1) process.nextTick(this.#flushAll);
  }
}

const round = new Round();

export class Outbox {
  readonly #stream: Duplex;
  readonly #limitBytes: number;
  readonly #onRoom: () => void;
  /** Acknowledgements not yet made into bytes: type << 16 | identifier. */
  #acks: number[] = [];
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  #scheduled = false;
  #wasFull = false;
  #isHeld = false;

  /** `onRoom` is called when something fits again after isFull was true. */
  constructor(stream: Duplex, limitBytes: number, onRoom: () => void) {
    this.#stream = stream;
    this.#limitBytes = limitBytes;
    this.#onRoom = onRoom;
    stream.on('drain', () => this.#tellRoom());
  }

  /** More waits for the client than may: what can wait or be dropped must. */
  get isFull(): boolean {
    const full = this.#bytes + this.#stream.writableLength >= this.#limitBytes;
    if (full) this.#wasFull = true;
    return full;
  }

  /** An acknowledgement without a reason: type and flags, 2, identifier. */
  ack(firstByte: number, packetId: number): void {
    this.#acks.push((firstByte << 16) | packetId);
    this.#bytes += 4;
    this.#schedule();
  }

  push(bytes: Uint8Array): void {
    if (this.#acks.length > 0) this.#sealAcks();
    this.#pieces.push(bytes);
    this.#bytes += bytes.length;
    this.#schedule();
  }

  /** Nothing leaves until release(). */
  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.flush();
  }

  flush(): void {
    this.#scheduled = false;
    if (this.#bytes === 0 || this.#isHeld) return;
    if (this.#bytes === 4 && this.#acks.length === 1) {
      this.#sendOneAck(this.#acks.pop()!);
      return;
    }
    if (this.#acks.length > 0) this.#sealAcks();
    const stream = this.#stream;
    const pieces = this.#pieces;
    const bytes = this.#bytes;
    this.#pieces = [];
    this.#bytes = 0;
    if (stream.destroyed || stream.writableEnded) return;
    if (pieces.length === 1) stream.write(pieces[0]!);
    else if (bytes <= COPY_BYTES) stream.write(Buffer.concat(pieces, bytes));
    else {
      stream.cork();
      for (const piece of pieces) stream.write(piece);
      stream.uncork();
    }
    // What waited has left already: the stream itself sees no reason to call.
    if (this.#wasFull && !stream.writableNeedDrain) this.#tellRoom();
  }

  /** What most answers are when one message is in flight. */
  #sendOneAck(ack: number): void {
    const stream = this.#stream;
    this.#bytes = 0;
    if (stream.destroyed || stream.writableEnded) return;
    const bytes = Buffer.allocUnsafe(4);
    putAck(bytes, 0, ack);
    stream.write(bytes);
    if (this.#wasFull && !stream.writableNeedDrain) this.#tellRoom();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    round.add(this);
  }

  #tellRoom(): void {
    if (this.#bytes + this.#stream.writableLength >= this.#limitBytes) return;
    this.#wasFull = false;
    this.#onRoom();
  }

  #sealAcks(): void {
    const acks = this.#acks;
    const bytes = Buffer.allocUnsafe(acks.length * 4);
    let at = 0;
    for (const ack of acks) {
      putAck(bytes, at, ack);
      at += 4;
    }
    this.#pieces.push(bytes);
    if (acks.length > 1024) this.#acks = [];
    else acks.length = 0;
  }
}

function putAck(bytes: Buffer, at: number, ack: number): void {
  bytes[at] = ack >> 16;
  bytes[at + 1] = 2;
  bytes[at + 2] = (ack >> 8) & 0xff;
  bytes[at + 3] = ack & 0xff;
}
