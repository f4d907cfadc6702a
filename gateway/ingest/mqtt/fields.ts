// Reads the fields that MQTT packets are made of (MQTT 5 §1.5) and refuses every byte that the standard does not allow.
// Knows no packets.
//
//   u16, u32     big-endian
//   varint       1..4 bytes, 7 bits each, least significant first, in the shortest form   [MQTT-1.5.5-1]
//   text         u16 length, UTF-8 without surrogates and U+0000                         [MQTT-1.5.4-1] [MQTT-1.5.4-2]
//   binary       u16 length, bytes
import { isUtf8 } from 'node:buffer';
import { malformed } from './reason.ts';

// [MQTT-1.5.4-3] U+FEFF stays as it is. Control characters and non-characters SHOULD NOT be used (§1.5.4): names with
// them would break every line-based reader of topics.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const UNUSABLE = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]/;

export class FieldReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  at: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.at = start;
    this.#end = end;
  }

  get left(): number {
    return this.#end - this.at;
  }

  u8(): number {
    this.#need(1);
    return this.#bytes[this.at++]!;
  }

  u16(): number {
    this.#need(2);
    const value = this.#bytes.readUInt16BE(this.at);
    this.at += 2;
    return value;
  }

  u32(): number {
    this.#need(4);
    const value = this.#bytes.readUInt32BE(this.at);
    this.at += 4;
    return value;
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 4; shift += 1) {
      const byte = this.u8();
      value += (byte & 0x7f) * 128 ** shift;
      if (byte < 0x80) {
        if (byte === 0 && shift > 0) throw malformed('a number is not in its shortest form');
        return value;
      }
    }
    throw malformed('a number of more than four bytes');
  }

  /** A view: copy what is kept. */
  binary(): Buffer {
    const length = this.u16();
    this.#need(length);
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }

  text(): string {
    const bytes = this.binary();
    if (!isUtf8(bytes)) throw malformed('text is not UTF-8');
    const text = bytes.toString('utf8');
    if (text.includes('\u0000')) throw malformed('text has U+0000');
    return text;
  }

  /** Text that names something: a topic, a filter, a client. */
  name(): string {
    const text = this.text();
    if (UNUSABLE.test(text)) throw malformed('a name has control characters');
    return text;
  }

  rest(): Buffer {
    const bytes = this.#bytes.subarray(this.at, this.#end);
    this.at = this.#end;
    return bytes;
  }

  /** A reader of the next `length` bytes; this one goes on after them. */
  part(length: number): FieldReader {
    this.#need(length);
    const part = new FieldReader(this.#bytes, this.at, this.at + length);
    this.at += length;
    return part;
  }

  /** The bytes from `start` up to where this reader is. */
  since(start: number): Buffer {
    return this.#bytes.subarray(start, this.at);
  }

  end(): void {
    if (this.at !== this.#end) throw malformed('bytes after the end of the packet');
  }

  #need(length: number): void {
    if (this.at + length > this.#end) throw malformed('the packet ends too soon');
  }
}

export const isUsableName = (text: string): boolean => !UNUSABLE.test(text);
