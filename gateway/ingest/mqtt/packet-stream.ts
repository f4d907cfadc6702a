// Cuts a client's bytes into packets. Gathers what is incomplete, up to the limit, and refuses a packet too long as soon
// as its length has been read. Looks at no packet's content.
//
//   packet           = type-and-flags(u8) remaining-length payload          MQTT 3.1.1 §2.2
//   remaining-length = 1..4 bytes, 7 bits each, least significant first, bit 7 set on all but the last
import { gather } from '../gather.ts';
import { malformed, PacketFault, REASON } from './reason.ts';

/** Takes a packet: its first byte, and where its body begins and ends. False: no more for now. */
export type OnPacket = (firstByte: number, bytes: Buffer, start: number, end: number) => boolean;

export class PacketStream {
  readonly #maxPacketBytes: number;
  readonly #onPacket: OnPacket;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  /** Bytes of the incomplete packet in #kept in all, once its length is known; else 0. */
  #neededBytes = 0;

  constructor(maxPacketBytes: number, onPacket: OnPacket) {
    this.#maxPacketBytes = maxPacketBytes;
    this.#onPacket = onPacket;
  }

  /** Bytes of a packet that is not complete, or that was not wanted yet. */
  get waitingBytes(): number {
    return this.#keptBytes;
  }

  /** @throws PacketFault, its own and those of `onPacket`; feed it no more then. */
  feed(chunk: Buffer): void {
    if (this.#keptBytes === 0) {
      this.#cut(chunk);
      return;
    }
    gather(this.#kept, chunk);
    this.#keptBytes += chunk.length;
    if (this.#keptBytes < this.#neededBytes) return;
    this.resume();
  }

  /** Bytes that came although no more was wanted. */
  keep(chunk: Buffer): void {
    gather(this.#kept, chunk);
    this.#keptBytes += chunk.length;
  }

  /** Goes on where `onPacket` said no more. */
  resume(): void {
    if (this.#keptBytes === 0) return;
    const bytes = this.#kept.length === 1 ? this.#kept[0]! : Buffer.concat(this.#kept, this.#keptBytes);
    this.#kept = [];
    this.#keptBytes = 0;
    this.#neededBytes = 0;
    this.#cut(bytes);
  }

  #cut(bytes: Buffer): void {
    const size = bytes.length;
    let at = 0;
    while (size - at >= 2) {
      let length = bytes[at + 1]!;
      let body = at + 2;
      if (length >= 0x80) {
        length &= 0x7f;
        for (let shift = 1; ; shift += 1) {
          if (body >= size) {
            this.#keep(bytes, at, 0);
            return;
          }
          const byte = bytes[body++]!;
          length += (byte & 0x7f) * 128 ** shift;
          if (byte < 0x80) {
            if (byte === 0) throw malformed('a packet length that is not in its shortest form');
            break;
          }
          if (shift === 3) throw malformed('a packet length of five bytes');
        }
      }
      const end = body + length;
      if (end - at > this.#maxPacketBytes) {
        throw new PacketFault(REASON.packetTooLarge, `a packet beyond ${this.#maxPacketBytes} bytes`);
      }
      if (end > size) {
        this.#keep(bytes, at, end - at);
        return;
      }
      const goOn = this.#onPacket(bytes[at]!, bytes, body, end);
      at = end;
      if (!goOn) break;
    }
    this.#keep(bytes, at, 0);
  }

  #keep(bytes: Buffer, from: number, neededBytes: number): void {
    if (from === bytes.length) return;
    // A copy: a view would hold the whole chunk for the sake of its last bytes.
    this.#kept.push(from === 0 ? bytes : Buffer.from(bytes.subarray(from)));
    this.#keptBytes = bytes.length - from;
    this.#neededBytes = neededBytes;
  }
}
