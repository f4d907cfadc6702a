// Follows one record through the gateway: device → record → block → checkpoint, and the windows and scores made from it.
// Reads log and ledger; believes the log only where the sealed root agrees.
import type { SearchableLogReader } from '../../gateway/log/types.ts';
import { toBase64 } from '../format/base64.ts';
import { blockHash } from '../format/block.ts';
import { offset } from '../format/brand.ts';
import { parseCheckpoint } from '../format/checkpoint.ts';
import { parseNote } from '../format/note.ts';
import { recordLeafHash, SOURCE, type TelemetryRecord } from '../format/record.ts';
import { FINAL_CHECKPOINT_PATH, type TileReader } from '../format/tile.ts';
import { type BlockEntry, BlockLog, readHead } from '../tiles/blocks.ts';
import { nodeSha256 } from '../tiles/hashing.ts';
import type { Prover } from '../tiles/prove.ts';
import type { DerivedUse, RecordProvenance, SealedIn, UnderCheckpoint } from './answers.ts';

export interface ProvenanceSources {
  readonly reader: SearchableLogReader;
  readonly tiles: TileReader;
  readonly prover: Prover;
}

export type ChainAnswer =
  | { readonly kind: 'provenance'; readonly provenance: Omit<RecordProvenance, 'sinks'> }
  /** The log does not hold the record: block and height are all that is left to say. */
  | { readonly kind: 'not-held'; readonly block: SealedIn | null };

/** Uses named for one record; the newest of more are left out. */
const USES_MAX = 200;
/** Bytes of log read in search of uses. */
const SEARCH_BYTES = 64 * 1024 * 1024;
const PAGE_RECORDS = 1_000;

export async function provenanceOf(sources: ProvenanceSources, at: number): Promise<ChainAnswer> {
  const { reader, tiles, prover } = sources;
  const head = await readHead(tiles);
  const blocks = new BlockLog(tiles, head?.checkpoint.size ?? 0);
  const entry = await blocks.covering(at);
  const [record] = await reader.fetch(offset(at), { maxRecords: 1 });
  if (record?.offset !== at) return { kind: 'not-held', block: entry && sealedIn(entry) };
  const proven = entry ? await prover.prove(at) : null;
  const uses = await usesOf(record, reader, blocks);
  return {
    kind: 'provenance',
    provenance: {
      record: {
        offset: at,
        device: record.device,
        sequence: record.sequence,
        topic: record.topic,
        source: record.source,
        eventMs: record.eventMs,
        receivedMs: record.receivedMs,
        contentType: record.contentType,
        payloadBytes: record.payload.length,
        hash: toBase64(recordLeafHash(record, nodeSha256)),
      },
      madeFrom: madeFrom(record),
      intact: proven?.kind === 'proof' ? true : proven?.kind === 'does-not-match' ? false : null,
      block: entry && sealedIn(entry),
      checkpoint: entry && head ? await checkpointOf(head.checkpoint, entry, tiles) : null,
      ...uses,
    },
  };
}

export function sealedIn({ block, bytes }: BlockEntry): SealedIn {
  const { height, first, count, sealedMs, detail } = block;
  const critical = detail?.critical;
  return {
    height,
    first,
    count,
    sealedMs,
    critical: Array.isArray(critical) ? critical.map(String) : [],
    hash: toBase64(blockHash(bytes, nodeSha256)),
  };
}

async function checkpointOf(
  { origin, size }: { readonly origin: string; readonly size: number },
  { block }: BlockEntry,
  tiles: TileReader,
): Promise<UnderCheckpoint> {
  const bytes = await tiles(FINAL_CHECKPOINT_PATH);
  const final = bytes && parseCheckpoint(parseNote(bytes).text).size > block.height;
  return { origin, size, final };
}

/** Members of a derived record's payload; none where it is not one. */
function derivedPayload(record: TelemetryRecord): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(record.payload).toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function madeFrom(record: TelemetryRecord): RecordProvenance['madeFrom'] {
  if (record.source !== SOURCE.window && record.source !== SOURCE.model) return null;
  const { offset: from, startMs, endMs } = derivedPayload(record);
  if (record.source === SOURCE.model && Number.isSafeInteger(from)) return { offset: from as number };
  if (Number.isSafeInteger(startMs) && Number.isSafeInteger(endMs))
    return { fromMs: startMs as number, toMs: endMs as number };
  return null;
}

/** Later derived records of the same device whose window holds the record's time, or whose score names its offset. */
async function usesOf(
  record: TelemetryRecord,
  reader: SearchableLogReader,
  blocks: BlockLog,
): Promise<Pick<RecordProvenance, 'usedBy' | 'searchedTo' | 'usedByComplete'>> {
  const usedBy: DerivedUse[] = [];
  let from = offset(record.offset + 1);
  if (isDerived(record)) return { usedBy, searchedTo: from, usedByComplete: true };
  for (let bytesLeft = SEARCH_BYTES; bytesLeft > 0 && usedBy.length < USES_MAX; ) {
    // Windows end after the record, scores bear its own time.
    const page = await reader.query({
      device: record.device,
      fromMs: record.eventMs,
      fromOffset: from,
      limit: PAGE_RECORDS,
      maxReadBytes: bytesLeft,
    });
    for (const found of page.records) {
      const kind = useOf(found, record);
      if (!kind) continue;
      const height = (await blocks.covering(found.offset))?.block.height ?? null;
      usedBy.push({ offset: found.offset, kind, topic: found.topic, height });
    }
    from = page.next;
    bytesLeft -= page.readBytes;
    if (page.complete) return { usedBy: usedBy.slice(0, USES_MAX), searchedTo: from, usedByComplete: true };
    if (page.readBytes === 0 && page.records.length === 0) break;
  }
  return { usedBy: usedBy.slice(0, USES_MAX), searchedTo: from, usedByComplete: false };
}

const isDerived = ({ source }: TelemetryRecord) =>
  source === SOURCE.window || source === SOURCE.model || source === SOURCE.gateway;

function useOf(found: TelemetryRecord, record: TelemetryRecord): DerivedUse['kind'] | null {
  const from = madeFrom(found);
  if (!from) return null;
  if ('offset' in from) return from.offset === record.offset ? 'score' : null;
  return from.fromMs <= record.eventMs && record.eventMs < from.toMs ? 'window' : null;
}
