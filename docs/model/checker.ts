// Looks at every state the protocol can reach, and at every way on from it. Says what holds everywhere, or shows the steps
// that lead to where it does not. Knows nothing of what it checks but protocol.ts.
import { finals, initial, type State, steps, type Variant } from './protocol.ts';

export interface Outcome {
  readonly states: number;
  readonly steps: number;
  /** Steps to two final checkpoints of one size with different roots; null: there are none. */
  readonly twoFinals: readonly string[] | null;
  /** Steps to two signatures of a gateway that was never set back, on different roots of one size; null: none. */
  readonly twoSignatures: readonly string[] | null;
  /** Steps to a state from which no run without further faults ends with the newest checkpoint final; null: none. */
  readonly stuck: readonly string[] | null;
}

interface Seen {
  readonly state: State;
  readonly from: number;
  readonly step: string;
  readonly next: number[];
}

/** Breadth first, so that what it shows is shortest. @throws RangeError beyond `statesMax`: then nothing was shown */
export function check(variant: Variant, statesMax = 2_000_000): Outcome {
  const seen: Seen[] = [{ state: initial(variant), from: -1, step: '', next: [] }];
  const numbers = new Map([[keyOf(seen[0]!.state), 0]]);
  let taken = 0;
  let twoFinals = -1;
  let twoSignatures = -1;
  for (let at = 0; at < seen.length; at += 1) {
    const { state, next } = seen[at]!;
    if (twoFinals < 0 && hasTwoRoots(finals(variant, state))) twoFinals = at;
    const neverSetBack = state.rollbacks === (variant.rollbacks ?? 0) && !variant.lyingGateway;
    if (twoSignatures < 0 && neverSetBack && hasTwoRoots(state.signed)) twoSignatures = at;
    for (const { name, fault, to } of steps(variant, state)) {
      taken += 1;
      const key = keyOf(to);
      let number = numbers.get(key);
      if (number === undefined) {
        if (seen.length >= statesMax) throw new RangeError(`more than ${statesMax} states`);
        number = seen.length;
        numbers.set(key, number);
        seen.push({ state: to, from: at, step: name, next: [] });
      }
      if (!fault) next.push(number);
    }
  }
  const path = (at: number) => (at < 0 ? null : pathTo(seen, at));
  const stuck = variant.lyingGateway ? -1 : findStuck(variant, seen);
  return {
    states: seen.length,
    steps: taken,
    twoFinals: path(twoFinals),
    twoSignatures: path(twoSignatures),
    stuck: path(stuck),
  };
}

function hasTwoRoots(checkpoints: readonly string[]): boolean {
  return new Set(checkpoints.map((one) => one.length)).size < checkpoints.length;
}

/**
 * States of a gateway that was not set back, and did not stop, from which the end cannot be reached: all blocks final. With
 * fair steps, what can always be reached is reached.
 */
function findStuck(variant: Variant, seen: readonly Seen[]): number {
  const before: number[][] = seen.map(() => []);
  for (const [at, { next }] of seen.entries()) for (const to of next) before[to]!.push(at);
  const good = new Uint8Array(seen.length);
  const queue: number[] = [];
  for (const [at, { state }] of seen.entries()) {
    const { stored } = state;
    if (stored.length === variant.size && finals(variant, state).includes(stored)) {
      good[at] = 1;
      queue.push(at);
    }
  }
  for (let at = queue.pop(); at !== undefined; at = queue.pop())
    for (const from of before[at]!)
      if (!good[from]) {
        good[from] = 1;
        queue.push(from);
      }
  return seen.findIndex(({ state }, at) => !good[at] && state.rollbacks === (variant.rollbacks ?? 0));
}

function pathTo(seen: readonly Seen[], at: number): string[] {
  const names: string[] = [];
  for (let here = seen[at]!; here.from >= 0; here = seen[here.from]!) names.push(here.step);
  return names.reverse();
}

const keyOf = (state: State): string => JSON.stringify(Object.values(state));
