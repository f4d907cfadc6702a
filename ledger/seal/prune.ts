// Turns planned removals of records into blocks that declare them: what was sealed is declared by a prune block, what was
// not by a gap. Removes nothing itself; whoever removes waits for the signed block.
import type { Removal, StateStore } from '../../gateway/state/state.ts';
import type { JsonObject } from '../format/canonical.ts';
import type { TileReader } from '../format/tile.ts';
import { BlockLog, readHead } from '../tiles/blocks.ts';
import type { Sealer } from './sealer.ts';
import type { SubtreeSink } from './subtrees.ts';

export type RemovalStore = Pick<StateStore, 'openRemovals' | 'removalsDeclared'>;

/**
 * Declares every removal that is planned and not declared yet; true when there was one. Signs what was gathered first,
 * so that each height named is a signed one.
 *
 * A crash after the commit and before the rows are marked declares them once more at the next start: the ledger then
 * says twice what happened once.
 */
export async function declareRemovals(
  sealer: Sealer,
  removals: RemovalStore,
  tiles: TileReader,
  subtrees?: Pick<SubtreeSink, 'prune'>,
): Promise<boolean> {
  const undeclared = removals.openRemovals().filter(({ declaredHeight }) => declaredHeight === null);
  if (undeclared.length === 0) return false;
  sealer.cut();
  sealer.commit();
  const heights = await blockHeights(tiles);
  for (const removal of undeclared) {
    const covered = sealer.next;
    const sealedEnd = Math.min(removal.end, covered);
    if (removal.first < sealedEnd) sealer.prune(await detailOf(removal, sealedEnd, heights));
    const lost = removal.end - Math.max(covered, removal.first);
    if (lost > 0) {
      const first = covered;
      sealer.gap(
        { cause: removal.cause, rule: removal.rule, first, count: removal.end - first },
        removal.end - first,
      );
    }
    const declaredAt = sealer.last!.height;
    sealer.commit();
    removals.removalsDeclared([removal.id], declaredAt);
    // Should the records stay after all, their proofs take longer.
    if (removal.segment === null) subtrees?.prune(removal.end);
  }
  return true;
}

type HeightOf = (offset: number) => Promise<number | null>;

async function blockHeights(tiles: TileReader): Promise<HeightOf> {
  const head = await readHead(tiles);
  const blocks = head && new BlockLog(tiles, head.checkpoint.size);
  return async (offset) => (await blocks?.covering(offset))?.block.height ?? null;
}

async function detailOf(removal: Removal, end: number, heightOf: HeightOf): Promise<JsonObject> {
  const { first, cause, rule, segment } = removal;
  const whole = segment === null;
  return {
    cause,
    rule,
    first,
    end,
    records: whole ? end - first : removal.records,
    // Which records of [first, end) are gone: all, or those that the rule names.
    whole,
    firstHeight: (await heightOf(first)) ?? 0,
    lastHeight: (await heightOf(end - 1)) ?? 0,
  };
}
