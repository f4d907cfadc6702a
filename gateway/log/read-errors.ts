// Owns the errors a reader throws about what lies on disk: each says which file, where, why, and where to go on.
import { type BatchHeader, whyForeign } from './batch.ts';
import { LogError } from './types.ts';
import type { FormFault } from './varint.ts';
import type { WalkEnd } from './walk.ts';

/** No batch can be read at `stop`; offsets up to `resume` are lost with it. */
export function damagedAt(file: string, stop: WalkEnd, resume: number): LogError {
  const reason = stop.fault === 'end' ? 'records are missing' : stop.fault;
  return new LogError('SEGMENT_DAMAGED', `${file} is damaged at byte ${stop.position}: ${reason}`, {
    facts: { file, position: stop.position, offset: stop.offset, resume, reason },
    hint: `records ${stop.offset} to ${resume - 1} cannot be read; reading can go on at ${resume}`,
  });
}

/** The batch that ends at byte `end` has a right checksum, and is no batch of ours from `offset` on. */
export function misformed(
  file: string,
  header: BatchHeader,
  end: number,
  offset: number,
  fault: FormFault,
): LogError {
  const facts = {
    file,
    position: end - header.sizeBytes,
    offset,
    resume: header.lastOffset + 1,
    reason: fault.message,
  };
  return new LogError(
    'SEGMENT_DAMAGED',
    `${file}: a batch with a good checksum is misformed: ${fault.message}`,
    {
      facts,
      cause: fault,
    },
  );
}

/** The batch that ends at byte `end` is intact and of a kind this log does not read. */
export function unsupported(file: string, header: BatchHeader, end: number): LogError {
  const reason = whyForeign(header) ?? 'unknown';
  return new LogError('BATCH_UNSUPPORTED', `${file} holds a batch that is not read here: ${reason}`, {
    facts: {
      file,
      position: end - header.sizeBytes,
      offset: header.baseOffset,
      resume: header.lastOffset + 1,
      reason,
    },
  });
}
