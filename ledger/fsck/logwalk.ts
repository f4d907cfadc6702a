// Walks the batches of one segment after another: structure, checksums, offsets without holes across files, indexes. Names
// file and byte of what is wrong. Changes nothing.
import type { TelemetryRecord } from '../format/record.ts';
import type { Findings } from './findings.ts';
import { IndexCheck } from './indexcheck.ts';
import { KeyCheck } from './keycheck.ts';
import { decodeBatch } from './records.ts';
import { type RecordBatch, type SegmentFile, scanSegment } from './segments.ts';

export interface LogWalkOptions {
  readonly findings: Findings;
  /** Decode every record, not only the batches. */
  readonly deep: boolean;
  /** One past the last offset the ledger covers: an unfinished tail below it is damage. */
  readonly sealedEnd: number;
  /** Whether the ledger declares that records of [from, to) were removed. */
  readonly isDeclared: (from: number, to: number) => boolean;
}

export class LogWalk {
  batches = 0;
  records = 0;
  bytes = 0;
  /** Offset the next batch must have. */
  next: number;
  /** Where the batches of the segment walked last end. */
  lastBytes = 0;
  readonly #options: LogWalkOptions;
  readonly #wasClosed: boolean;

  constructor(options: LogWalkOptions, start: number, wasClosed: boolean) {
    this.#options = options;
    this.next = start;
    this.#wasClosed = wasClosed;
  }

  segment(segment: SegmentFile, isLast: boolean): void {
    const { findings } = this.#options;
    const isCold = segment.place === 'cold';
    const file = `${segment.place}/${segment.name}`;
    if (segment.baseOffset !== this.next) {
      this.#offsets(file, 0, segment.baseOffset, 'the file name says');
      this.next = segment.baseOffset;
    }
    // The hash of a cold copy says what its indexes are worth.
    const indexes = isCold ? null : new IndexCheck(findings, segment, isLast);
    const keys = isCold ? null : new KeyCheck(findings, segment);
    let isWhole = this.#options.deep;
    this.lastBytes = 0;
    let afterDamage: number | null = null;
    for (const item of scanSegment(segment)) {
      if (item.kind === 'batch') {
        if (afterDamage !== null) {
          this.#damaged(file, afterDamage, item.batch.baseOffset);
          indexes?.resumeAt(item.batch.baseOffset);
          afterDamage = null;
        }
        const records = this.#batch(file, item.batch);
        if (records) keys?.batch(item.batch, records);
        else isWhole = false;
        indexes?.batch(item.batch);
        this.lastBytes = item.batch.position + item.batch.bytes;
      } else if (item.kind === 'damage') {
        findings.add(
          'error',
          'SEGMENT_DAMAGED',
          { file, position: item.position },
          `${item.bytes} bytes cannot be read: ${item.reason}`,
          {
            bytes: item.bytes,
            offset: this.next,
          },
        );
        indexes?.damage(item.position, item.position + item.bytes);
        isWhole = false;
        afterDamage = item.position;
      } else if (item.kind === 'unfinished') {
        this.#unfinished(file, item, isLast);
        indexes?.damage(item.position, item.position + item.bytes);
        indexes?.resumeAt(Number.POSITIVE_INFINITY);
      } else if (!isLast) {
        findings.add(
          'note',
          'SEGMENT_TORN_TAIL',
          { file, position: item.position },
          `${item.bytes} zero bytes after the last batch of a closed segment`,
        );
      }
    }
    indexes?.end();
    // What cannot be read is damage of the segment, and says nothing of its index.
    if (isWhole) keys?.end();
  }

  /** Its records where they are looked at and can be read, else null. */
  #batch(file: string, batch: RecordBatch): readonly TelemetryRecord[] | null {
    const { findings, deep } = this.#options;
    const { position } = batch;
    if (batch.baseOffset !== this.next) this.#offsets(file, position, batch.baseOffset, 'the batch says');
    const spans = batch.lastOffset - batch.baseOffset + 1;
    if (batch.count < spans && batch.count >= 0) this.#thinned(file, batch, spans);
    if (batch.count > spans || batch.count < 0 || batch.leaderEpoch !== 0 || batch.producer !== '-1/-1/-1') {
      findings.add(
        'error',
        'BATCH_FOREIGN',
        { file, position },
        `a header the gateway does not write: ${batch.count} records over ${spans} offsets, epoch ${batch.leaderEpoch}, producer ${batch.producer}`,
      );
    }
    let records: readonly TelemetryRecord[] | null = null;
    if (deep) {
      const decoded = decodeBatch(batch);
      if (decoded.ok) records = decoded.records;
      else {
        findings.add(
          'error',
          'BATCH_FOREIGN',
          { file, position },
          `records ${batch.baseOffset} to ${batch.lastOffset} cannot be read: ${decoded.reason}`,
          {
            offset: batch.baseOffset,
          },
        );
      }
    }
    this.batches += 1;
    this.records += batch.count;
    this.bytes += batch.bytes;
    this.next = batch.lastOffset + 1;
    return records;
  }

  /** Fewer records than offsets: retention removed some, and the ledger must say so. */
  #thinned(file: string, { baseOffset, lastOffset, count, position }: RecordBatch, spans: number): void {
    const { findings, isDeclared } = this.#options;
    if (isDeclared(baseOffset, lastOffset + 1)) return;
    findings.add(
      'error',
      'OFFSETS_MISSING',
      { file, position },
      `the batch has ${count} records for ${spans} offsets from ${baseOffset} on, and nothing declares their removal`,
      { expected: spans, found: count },
    );
  }

  #offsets(file: string, position: number, found: number, who: string): void {
    const { findings } = this.#options;
    const facts = { expected: this.next, found };
    if (found > this.next) {
      findings.add(
        'error',
        'OFFSETS_MISSING',
        { file, position },
        `${who} offset ${found}; ${this.next} to ${found - 1} are missing`,
        facts,
      );
    } else {
      findings.add(
        'error',
        'OFFSETS_REPEATED',
        { file, position },
        `${who} offset ${found}, which is already past: ${this.next} is next`,
        facts,
      );
    }
  }

  #damaged(file: string, position: number, resume: number): void {
    if (resume <= this.next) return;
    this.#options.findings.add(
      'error',
      'OFFSETS_MISSING',
      { file, position },
      `records ${this.next} to ${resume - 1} were in the damaged bytes; reading goes on at ${resume}`,
      {
        expected: this.next,
        found: resume,
      },
    );
    this.next = resume;
  }

  #unfinished(
    file: string,
    item: { position: number; bytes: number; reason: string },
    isLast: boolean,
  ): void {
    const { findings, sealedEnd } = this.#options;
    const where = { file, position: item.position };
    const facts = { bytes: item.bytes, offset: this.next };
    const readable = `everything before offset ${this.next} is readable`;
    if (isLast && !this.#wasClosed && this.next >= sealedEnd) {
      findings.add(
        'warning',
        'SEGMENT_TORN_TAIL',
        where,
        `an unfinished write of up to ${item.bytes} bytes (${item.reason}); never acknowledged, or being written now; ${readable}`,
        facts,
      );
      return;
    }
    const why = !isLast
      ? 'in a closed segment'
      : this.#wasClosed
        ? 'though the log was closed in order'
        : `though the ledger covers offsets up to ${sealedEnd - 1}`;
    findings.add(
      'error',
      'SEGMENT_DAMAGED',
      where,
      `${item.bytes} bytes cannot be read (${item.reason}), ${why}; ${readable}`,
      facts,
    );
  }
}
