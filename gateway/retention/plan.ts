// Owns the decision what goes next: whole segments from the oldest on, or some topics of one segment. Pure: reads no
// file, removes nothing.
import type { RolledSegment } from '../log/types.ts';
import type { RetentionClasses } from './classes.ts';
import type { RetentionConfig } from './config.ts';
import type { SegmentProfile } from './segments.ts';

export type Step =
  /** All of these segments, which are the oldest. */
  | { readonly kind: 'drop'; readonly segments: readonly RolledSegment[]; readonly rule: string }
  /** The records of these classes in one segment. */
  | {
      readonly kind: 'rewrite';
      readonly segment: RolledSegment;
      readonly classes: ReadonlySet<number>;
      readonly records: number;
      readonly rule: string;
    };

export interface Judged {
  readonly segment: RolledSegment;
  /** Null where nothing in it can be old enough to be worth looking. */
  readonly profile: SegmentProfile | null;
}

/** Classes with records in the segment that are all past their age. */
export function expiredClasses(
  classes: RetentionClasses,
  profile: SegmentProfile,
  nowMs: number,
): ReadonlySet<number> {
  if (profile.kind === 'unreadable') return new Set();
  const expired = profile.classes.flatMap(({ records, newestMs }, index) => {
    const { maxAgeMs } = classes.classes[index]!;
    return records > 0 && maxAgeMs !== null && newestMs + maxAgeMs <= nowMs ? [index] : [];
  });
  return new Set(expired);
}

/** Nothing in it is to be kept any longer. */
function isSpent(classes: RetentionClasses, { segment, profile }: Judged, nowMs: number): boolean {
  if (profile === null) return false;
  if (profile.kind === 'read') {
    const expired = expiredClasses(classes, profile, nowMs);
    return profile.classes.every(({ records }, index) => records === 0 || expired.has(index));
  }
  // What cannot be read goes once everything would be past its age by the time of the last write.
  const ages = classes.classes.map(({ maxAgeMs }) => maxAgeMs);
  return ages.every((maxAgeMs) => maxAgeMs !== null && segment.lastWrittenMs + maxAgeMs <= nowMs);
}

const ruleOf = (classes: RetentionClasses, expired: ReadonlySet<number>) =>
  [...expired].map((index) => classes.classes[index]!.text).join('; ');

/** `eligible`: closed segments nobody needs any more, oldest first. `totalBytes`: of all closed segments. */
export function nextStep(
  config: RetentionConfig,
  classes: RetentionClasses,
  eligible: readonly Judged[],
  totalBytes: number,
  nowMs: number,
): Step | null {
  const spent: RolledSegment[] = [];
  const rules = new Set<number>();
  for (const judged of eligible) {
    if (!isSpent(classes, judged, nowMs)) break;
    spent.push(judged.segment);
    if (judged.profile) for (const index of expiredClasses(classes, judged.profile, nowMs)) rules.add(index);
  }
  if (spent.length > 0)
    return { kind: 'drop', segments: spent, rule: ruleOf(classes, rules) || 'nothing left in it' };

  const { maxBytes } = config;
  if (maxBytes !== null && totalBytes > maxBytes) {
    const over: RolledSegment[] = [];
    let left = totalBytes;
    for (const { segment } of eligible) {
      if (left <= maxBytes) break;
      over.push(segment);
      left -= segment.sizeBytes;
    }
    if (over.length > 0) return { kind: 'drop', segments: over, rule: `more than ${maxBytes} bytes` };
  }
  for (const { segment, profile } of eligible) {
    if (profile?.kind !== 'read') continue;
    const expired = expiredClasses(classes, profile, nowMs);
    if (expired.size === 0) continue;
    const records = [...expired].reduce((sum, index) => sum + profile.classes[index]!.records, 0);
    return { kind: 'rewrite', segment, classes: expired, records, rule: ruleOf(classes, expired) };
  }
  return null;
}
