// Checks the log as a whole, with what only the cold tier has of it: segment after segment (logwalk.ts), then the marker of a
// clean shutdown, hashes of removed records, files that belong to nothing. Changes nothing.
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { FormatError } from '../format/errors.ts';
import { decodeLeaves, encodeLeaves } from '../format/leaves.ts';
import type { ColdCopies } from './coldcopies.ts';
import type { Findings } from './findings.ts';
import { readIfThere } from './indexcheck.ts';
import { LogWalk, type LogWalkOptions } from './logwalk.ts';
import { leafFiles, listSegments, type SegmentFile } from './segments.ts';

export interface LogSummary {
  /** In the data directory. */
  readonly segments: number;
  /** In the cold tier only, and looked at. */
  readonly coldSegments: number;
  readonly batches: number;
  readonly records: number;
  /** Bytes of readable batches. */
  readonly bytes: number;
  /** First offset held. */
  readonly start: number;
  /** One past the last readable offset. */
  readonly end: number;
}

export interface LogCheckOptions extends LogWalkOptions {
  readonly dataDir: string;
  /** What only the cold tier has, checked like the rest. */
  readonly cold: ColdCopies;
  readonly onProgress?: ((done: { readonly file: string; readonly records: number }) => void) | undefined;
}

const MARKER = 'clean';
/** Space kept for others on a full disk; what is in it means nothing. */
const RESERVE = 'reserve';

interface CleanMarker {
  readonly segment: number;
  readonly sizeBytes: number;
  readonly end: number;
}

export async function checkLog(options: LogCheckOptions): Promise<LogSummary> {
  const { dataDir, findings, cold } = options;
  const segments = listSegments(dataDir);
  const marker = readMarker(dataDir, findings);
  const start = cold.segments[0]?.baseOffset ?? segments[0]?.baseOffset ?? 0;
  const walk = new LogWalk(options, start, marker !== null);
  for (const segment of cold.segments) {
    const copy = await cold.log(segment);
    if (copy) walk.segment(copy, false);
    // What it lacks of its range has been named.
    walk.next = segment.end;
    await cold.checkRest(segment);
    options.onProgress?.({ file: `cold/${copy?.name}`, records: walk.records });
  }
  segments.forEach((segment, index) => {
    walk.segment(segment, index === segments.length - 1);
    options.onProgress?.({ file: `log/${segment.name}`, records: walk.records });
  });
  reportStrays(dataDir, segments, findings);
  checkLeaves(dataDir, findings);
  const last = segments.at(-1);
  if (
    marker &&
    last &&
    (marker.segment !== last.baseOffset || marker.end !== walk.next || marker.sizeBytes !== walk.lastBytes)
  ) {
    findings.add(
      'warning',
      'MARKER_WRONG',
      { file: `log/${MARKER}` },
      `says the log ends at ${marker.end}, it ends at ${walk.next}`,
      {
        marker: marker.end,
        end: walk.next,
      },
    );
  }
  return {
    segments: segments.length,
    coldSegments: cold.segments.length,
    batches: walk.batches,
    records: walk.records,
    bytes: walk.bytes,
    start,
    end: walk.next,
  };
}

/** The marker of a clean shutdown; null without one. */
function readMarker(dataDir: string, findings: Findings): CleanMarker | null {
  const bytes = readIfThere(join(dataDir, 'log', MARKER));
  if (!bytes) return null;
  try {
    const value = JSON.parse(Buffer.from(bytes).toString('utf8')) as Partial<
      CleanMarker & { version: number }
    >;
    const { version, segment, sizeBytes, end } = value;
    if (version === 1 && [segment, sizeBytes, end].every(Number.isSafeInteger)) return value as CleanMarker;
  } catch {
    // Reported below, like any other unreadable marker.
  }
  findings.add(
    'warning',
    'MARKER_WRONG',
    { file: `log/${MARKER}` },
    'the marker of a clean shutdown cannot be read; the next start looks at the tail more carefully',
  );
  return null;
}

/** Without its hashes, records beside removed ones cannot be proven any more. That each is right, --deep shows. */
function checkLeaves(dataDir: string, findings: Findings): void {
  for (const path of leafFiles(dataDir)) {
    try {
      decodeLeaves(readIfThere(path) ?? encodeLeaves([]));
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      findings.add('error', 'LEAVES_UNREADABLE', { file: `log/${basename(path)}` }, error.message);
    }
  }
}

function reportStrays(dataDir: string, segments: readonly SegmentFile[], findings: Findings): void {
  if (segments.length === 0) return;
  const known = new Set([
    MARKER,
    RESERVE,
    ...segments.flatMap(({ name }) =>
      ['.log', '.index', '.timeindex', '.keys', '.leaves'].map((end) => name.replace(/\.log$/, end)),
    ),
  ]);
  for (const name of readdirSync(join(dataDir, 'log'))) {
    if (known.has(name) || name.endsWith('.tmp')) continue;
    findings.add('note', 'STRAY_FILE', { file: `log/${name}` }, 'belongs to no segment');
  }
}
