// Owns one batch whose checksum has been checked, for all who read it in this thread: unpacked once, with the places
// of its records remembered as they are walked.
import { type BatchHeader, whyForeign } from './batch.ts';
import { RecordDecoder } from './record-decoder.ts';
import { BatchRun, RecordMarks } from './record-run.ts';
import type { TextCache } from './text-cache.ts';

export class CheckedBatch {
  readonly header: BatchHeader;
  /** What makes it one that is not read here, or null. */
  readonly foreign: string | null;
  readonly #bytes: Uint8Array;
  readonly #at: number;
  readonly #marks = new RecordMarks();
  readonly #onUnpacked: (plainBytes: number) => void;
  #run: BatchRun | null = null;

  constructor(
    header: BatchHeader,
    bytes: Uint8Array,
    at: number,
    onUnpacked: (plainBytes: number) => void = () => {},
  ) {
    this.header = header;
    this.foreign = whyForeign(header);
    this.#bytes = bytes;
    this.#at = at;
    this.#onUnpacked = onUnpacked;
  }

  /** Reads its records from offset `from` on. FormFault when it does not unpack. Only where `foreign` is null. */
  decoder(from: number, texts: TextCache): RecordDecoder {
    if (!this.#run) {
      this.#run = new BatchRun(this.header, this.#bytes, this.#at);
      if (this.#run.bytes !== this.#bytes) this.#onUnpacked(this.#run.bytes.length);
    }
    return new RecordDecoder(this.#run, texts, from, this.#marks);
  }
}
