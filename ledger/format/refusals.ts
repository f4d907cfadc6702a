// What blocks say was refused at the gateway's door or dropped there, added up per cause. Counts no records that were lost
// after they got in; believes no number that is none.
import type { Block } from './block.ts';
import { isJsonObject, type JsonValue } from './canonical.ts';

/** Cause in the detail of a gap block that says what was refused while records did arrive. */
export const REFUSED_CAUSE = 'refused';

export interface Refusals {
  /** By cause; their senders were told. */
  readonly refused: Readonly<Record<string, number>>;
  /** By cause; their senders do not know. */
  readonly dropped: Readonly<Record<string, number>>;
}

/** Causes kept apart; what has others, or names that no gateway of ours writes, is counted as `other`. */
const CAUSES_MAX = 64;
const CAUSE = /^[a-z][a-z0-9-]{0,39}$/;
const OTHER = 'other';

export class RefusalTally {
  readonly #refused = new Map<string, number>();
  readonly #dropped = new Map<string, number>();

  add({ detail }: Pick<Block, 'detail'>): void {
    if (detail?.refused !== undefined) addTo(this.#refused, detail.refused);
    if (detail?.dropped !== undefined) addTo(this.#dropped, detail.dropped);
  }

  get total(): Refusals {
    return { refused: Object.fromEntries(this.#refused), dropped: Object.fromEntries(this.#dropped) };
  }
}

/** A gap block that covers no offsets and only says what was refused: no loss of anything that got in. */
export const saysRefusedOnly = ({ kind, count, detail }: Pick<Block, 'kind' | 'count' | 'detail'>): boolean =>
  kind === 'gap' && count === 0 && detail?.cause === REFUSED_CAUSE;

function addTo(totals: Map<string, number>, counts: JsonValue): void {
  if (!isJsonObject(counts)) return;
  for (const [name, count] of Object.entries(counts)) {
    if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0) continue;
    const isKnown = totals.has(name) || (totals.size < CAUSES_MAX && CAUSE.test(name));
    const cause = isKnown ? name : OTHER;
    totals.set(cause, Math.min(Number.MAX_SAFE_INTEGER, (totals.get(cause) ?? 0) + count));
  }
}
