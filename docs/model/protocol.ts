// The cosigning protocol as states and steps: one gateway, n authorities, crashes between any two steps, a disk set back to
// an earlier day, an authority that signs anything, a gateway that signs anything. What each part may do and no more; the
// search is checker.ts.

/*
 * A history is a string: one character a block, which of two the gateway could have cut there. A checkpoint is a history:
 * its length is the size, the string stands for the root, and one is consistent with another where it is a prefix.
 */
export interface Variant {
  readonly authorities: number;
  readonly quorum: number;
  /** Longest history. */
  readonly size: number;
  /** Authorities, of the above, that cosign whatever they are shown. */
  readonly lyingAuthorities: number;
  /** Authorities show no checkpoints: what they say they hold is their word alone. */
  readonly silent?: boolean;
  /** The gateway signs whatever it likes. */
  readonly lyingGateway?: boolean;
  readonly crashes?: number;
  readonly rollbacks?: number;
  /** Mistakes that must be found; a model that cannot find them shows nothing. */
  readonly mistake?:
    | 'sign-before-sync' // the gateway signs blocks that a crash may take away again
    | 'authority-forgets' // an authority is restored from a backup and keeps its key
    | 'answer-before-store' // an authority cosigns, and a crash takes the memory of it
    | 'believes-any-claim'; // the gateway stops where one authority says that it holds more
}

export interface State {
  /** Blocks on the gateway's disk, signed and stored. */
  readonly stored: string;
  /** The same and blocks written after them; equal to `stored` between rounds. */
  readonly written: string;
  readonly mode: 'running' | 'down' | 'halted';
  /** Every checkpoint that was ever signed: the network may deliver any of them, at any time, again. */
  readonly signed: readonly string[];
  /** By honest authority: what it holds, and what it has ever cosigned. */
  readonly held: readonly string[];
  readonly cosigned: readonly (readonly string[])[];
  readonly crashes: number;
  readonly rollbacks: number;
  readonly forgets: number;
}

export interface Step {
  readonly name: string;
  /** Not something that has to happen for the good: the search for liveness leaves it out. */
  readonly fault: boolean;
  readonly to: State;
}

export function initial(variant: Variant): State {
  const honest = variant.authorities - variant.lyingAuthorities;
  return {
    stored: '',
    written: '',
    mode: 'running',
    signed: variant.lyingGateway ? histories(variant.size) : [],
    held: Array.from({ length: honest }, () => ''),
    cosigned: Array.from({ length: honest }, () => []),
    crashes: variant.crashes ?? 0,
    rollbacks: variant.rollbacks ?? 0,
    forgets: variant.mistake === 'authority-forgets' ? 1 : 0,
  };
}

/** Checkpoints that a quorum has cosigned. Lying authorities sign everything, and always did. */
export function finals(variant: Variant, { cosigned }: State): string[] {
  const count = new Map<string, number>();
  for (const own of cosigned)
    for (const checkpoint of own) count.set(checkpoint, (count.get(checkpoint) ?? 0) + 1);
  return [...count]
    .filter(([, honest]) => honest + variant.lyingAuthorities >= variant.quorum)
    .map(([one]) => one);
}

export function steps(variant: Variant, state: State): Step[] {
  return [...gatewaySteps(variant, state), ...lies(variant, state), ...deliveries(variant, state)];
}

function gatewaySteps(variant: Variant, state: State): Step[] {
  const found: Step[] = [];
  const go = (name: string, change: Partial<State>, fault = false) =>
    found.push({ name, fault, to: { ...state, ...change } });
  const { stored, written, mode } = state;
  if (variant.lyingGateway) return [];
  if (mode === 'running') {
    const isOpen = written === stored;
    if (isOpen && stored.length < variant.size)
      for (const block of ['0', '1']) go(`write ${block}`, { written: stored + block });
    if (!isOpen) go('sign and store', { stored: written, signed: adding(state.signed, written) });
    if (!isOpen && variant.mistake === 'sign-before-sync')
      go('sign, not stored yet', { signed: adding(state.signed, written) });
    if (state.crashes > 0) {
      const down = { mode: 'down', crashes: state.crashes - 1 } as const;
      go('crash', down, true);
      if (!isOpen) go('crash, the written block is lost', { ...down, written: stored }, true);
    }
  }
  if (mode === 'down') {
    // An authority that is ahead may be heard at the start, or not answer in time.
    if (isBelieved(variant, state)) go('start: told of a rollback', { mode: 'halted' });
    go('start', { mode: 'running' });
    for (let size = 0; state.rollbacks > 0 && size < stored.length; size += 1) {
      const old = stored.slice(0, size);
      go(`disk set back to ${size}`, { stored: old, written: old, rollbacks: state.rollbacks - 1 }, true);
    }
  }
  return found;
}

const isAhead = (held: string, { stored }: State): boolean => held.length > stored.length;

/**
 * Whether the gateway believes that its disk was set back: an honest authority that is ahead shows the checkpoint it
 * holds, which the gateway's own key has signed; without a checkpoint, more say so than may lie, and no quorum is left
 * without them. All that lie join in.
 */
function isBelieved({ silent, authorities, quorum, lyingAuthorities }: Variant, state: State): boolean {
  const ahead = state.held.filter((held) => isAhead(held, state)).length;
  if (ahead > 0 && !silent) return true;
  const claim = ahead + lyingAuthorities;
  return claim > Math.max(0, 2 * quorum - authorities - 1) && authorities - claim < quorum;
}

/** What authorities may say of their own accord: that they hold more, with any checkpoint that was ever signed. */
function lies(variant: Variant, state: State): Step[] {
  const { lyingAuthorities, lyingGateway, mistake } = variant;
  if (lyingAuthorities === 0 || lyingGateway || state.mode !== 'running') return [];
  const shown = state.signed.some((checkpoint) => isAhead(checkpoint, state));
  if (!shown && !isBelieved(variant, state) && mistake !== 'believes-any-claim') return [];
  return [{ name: 'an authority claims more', fault: true, to: { ...state, mode: 'halted' } }];
}

/** Any signed checkpoint reaches any honest authority. An answer that is lost is a delivery that happens again. */
function deliveries(variant: Variant, state: State): Step[] {
  const found: Step[] = [];
  for (const [i, held] of state.held.entries()) {
    for (const checkpoint of state.signed) {
      const to = answer(variant, state, i, checkpoint);
      if (to) found.push({ name: `authority ${i} gets ${checkpoint}`, fault: false, to });
      if (to && to !== state && variant.mistake === 'answer-before-store' && held !== checkpoint)
        found.push({
          name: `authority ${i} answers and forgets`,
          fault: true,
          to: { ...to, held: state.held },
        });
    }
    if (state.forgets > 0 && held !== '') {
      const forgotten = replaced(state.held, i, held.slice(0, -1));
      found.push({
        name: `authority ${i} is set back`,
        fault: true,
        to: { ...state, held: forgotten, forgets: 0 },
      });
    }
  }
  return found;
}

/** C2SP tlog-witness: the stored head moves only to what extends it, and is stored before it is answered. */
function answer(variant: Variant, state: State, i: number, checkpoint: string): State | null {
  const held = state.held[i]!;
  if (checkpoint.startsWith(held)) {
    const cosigned = replaced(state.cosigned, i, adding(state.cosigned[i]!, checkpoint));
    return { ...state, held: replaced(state.held, i, checkpoint), cosigned };
  }
  // 409 with a larger size than was ever signed on this disk: the gateway stops where it has reason to believe it.
  const isNewest = checkpoint === state.stored && state.mode === 'running';
  return isNewest && isAhead(held, state) && isBelieved(variant, state) ? { ...state, mode: 'halted' } : null;
}

function histories(size: number): string[] {
  const all: string[] = [];
  for (let length = 1; length <= size; length += 1)
    for (let i = 0; i < 2 ** length; i += 1) all.push(i.toString(2).padStart(length, '0'));
  return all;
}

const adding = (set: readonly string[], one: string): readonly string[] =>
  set.includes(one) ? set : [...set, one].sort();
const replaced = <T>(list: readonly T[], at: number, value: T): readonly T[] =>
  list.map((one, i) => (i === at ? value : one));
