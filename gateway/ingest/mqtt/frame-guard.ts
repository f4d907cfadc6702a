// Reads the fixed headers in a client's byte stream and nothing else, so that a packet too long is refused when its
// length arrives and not when it has been gathered. Parsing packets is the broker's business.
//
//   packet           = type-and-flags(u8) remaining-length payload          MQTT 3.1.1 §2.2
//   remaining-length = 1..4 bytes, 7 bits each, least significant first, bit 7 set on all but the last

export class FrameGuard {
  readonly #maxPacketBytes: number;
  /** Bytes of the current packet's payload still to come. */
  #skip = 0;
  /** -1: at a packet's first byte; else so many length bytes have been read. */
  #lengthBytes = -1;
  #length = 0;

  constructor(maxPacketBytes: number) {
    this.#maxPacketBytes = maxPacketBytes;
  }

  /** Null when all is well so far, else what is wrong with the stream. After that, feed it no more. */
  feed(chunk: Uint8Array): 'too-large' | 'malformed' | null {
    let at = 0;
    while (at < chunk.length) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, chunk.length - at);
        this.#skip -= step;
        at += step;
        continue;
      }
      const byte = chunk[at]!;
      at += 1;
      if (this.#lengthBytes < 0) {
        this.#lengthBytes = 0;
        this.#length = 0;
        continue;
      }
      this.#length += (byte & 0x7f) * 128 ** this.#lengthBytes;
      this.#lengthBytes += 1;
      if (byte & 0x80) {
        if (this.#lengthBytes === 4) return 'malformed';
        continue;
      }
      if (this.#length + 1 + this.#lengthBytes > this.#maxPacketBytes) return 'too-large';
      this.#skip = this.#length;
      this.#lengthBytes = -1;
    }
    return null;
  }
}
