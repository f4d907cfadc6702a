// Policy text (C2SP tlog-policy): known gateways, authorities and the quorum, and what it tolerates. No network.
import { FormatError } from './errors.ts';
import { sha256, toHex } from './hash.ts';
import type { VerifierKey } from './note.ts';
import { PolicyBuilder } from './policy-lines.ts';
import { toUtf8 } from './text.ts';

export interface PolicyLog {
  /** Type 01; its name is the gateway's origin. */
  readonly key: VerifierKey;
  readonly url: string | null;
  /** Largest size for which its signature counts; null: any. */
  readonly notAfter: number | null;
}

export interface PolicyAuthority {
  /** Name within the policy; means nothing outside it. */
  readonly name: string;
  /** Type 04. */
  readonly key: VerifierKey;
  /** Signs policies on its behalf: its own key, or the one of a `policy-key` line (type 01); null: nobody does. */
  readonly policyKey: VerifierKey | null;
  readonly url: string | null;
}

/** `threshold` of the members, which are names of authorities or of earlier groups. */
export interface PolicyGroup {
  readonly name: string;
  readonly threshold: number;
  readonly members: readonly string[];
}

/** What the quorum survives. */
export interface QuorumFigures {
  /** Authorities the quorum can count. */
  readonly authorities: number;
  /** Fewest authorities that make a quorum. */
  readonly smallestQuorum: number;
  /** Fewest authorities that any two quorums share. 0: two histories can both become final. */
  readonly overlap: number;
  /** How many may lie with history still unique: overlap − 1, at least 0. */
  readonly mayLie: number;
  /** How many may be down, whichever they are, with a quorum still possible. */
  readonly mayBeDown: number;
}

export interface Policy {
  /** The exact text; blocks name its SHA-256. */
  readonly text: string;
  readonly hash: Uint8Array;
  readonly logs: readonly PolicyLog[];
  readonly authorities: readonly PolicyAuthority[];
  readonly groups: readonly PolicyGroup[];
  /** Name of an authority or group, or null for `quorum none`. */
  readonly quorum: string | null;
  /** null for `quorum none`. */
  readonly figures: QuorumFigures | null;
}

export interface PolicyOptions {
  /** Accept a quorum of which two instances need not share a member. Default false. */
  readonly allowNonIntersecting?: boolean;
}

const MAX_POLICY_BYTES = 256 * 1024;

/** Reads a policy. Throws POLICY_INVALID naming the line, POLICY_NOT_INTERSECTING for an unsafe quorum. */
export function parsePolicy(text: string, options: PolicyOptions = {}): Policy {
  const bytes = toUtf8(text, 'policy', 'POLICY_INVALID');
  if (bytes.length > MAX_POLICY_BYTES)
    throw new FormatError('POLICY_INVALID', `a policy has more than ${MAX_POLICY_BYTES} bytes`);
  if (text !== '' && !text.endsWith('\n'))
    throw new FormatError('POLICY_INVALID', 'the last line of the policy does not end in LF');
  const builder = new PolicyBuilder();
  const lines = text.split('\n');
  for (let i = 0; i < lines.length - 1; i++) builder.line(lines[i]!, i + 1);
  const policy = builder.build(text, sha256(bytes));
  const { figures } = policy;
  if (!meetsQuorum(policy, policySigners(policy)))
    throw new FormatError(
      'POLICY_INVALID',
      'no quorum could ever sign the next policy: too many witnesses have policy-key none',
    );
  if (figures && figures.overlap === 0 && !options.allowNonIntersecting) {
    throw new FormatError(
      'POLICY_NOT_INTERSECTING',
      'two quorums of this policy need not share an authority, so two histories could both become final',
      {
        facts: { authorities: figures.authorities, smallestQuorum: figures.smallestQuorum },
        hint: 'raise the threshold above half of the authorities, or pass --allow-non-intersecting',
      },
    );
  }
  return policy;
}

/** SHA-256 of the policy text, as blocks name it. */
export function policyHash(text: string): Uint8Array {
  return sha256(toUtf8(text, 'policy', 'POLICY_INVALID'));
}

/** Whether these authorities (by policy name) make a quorum. True for `quorum none`. */
export function meetsQuorum(policy: Policy, signed: ReadonlySet<string>): boolean {
  if (policy.quorum === null) return true;
  const groups = new Map(policy.groups.map((group) => [group.name, group]));
  const holds = (name: string): boolean => {
    const group = groups.get(name);
    if (!group) return signed.has(name);
    return group.members.filter(holds).length >= group.threshold;
  };
  return holds(policy.quorum);
}

/** Names of the authorities that the quorum counts; others in the text have no say. */
export function quorumAuthorities(policy: Policy): Set<string> {
  const groups = new Map(policy.groups.map((group) => [group.name, group]));
  const found = new Set<string>();
  const visit = (name: string): void => {
    const group = groups.get(name);
    if (group) group.members.forEach(visit);
    else found.add(name);
  };
  if (policy.quorum !== null) visit(policy.quorum);
  return found;
}

/** Names of those that someone signs policies for. */
export function policySigners(policy: Policy): Set<string> {
  return new Set(policy.authorities.filter(({ policyKey }) => policyKey).map(({ name }) => name));
}

/** Said only where not all of them sign policies with the key they cosign with. */
function signersOf({ authorities }: Policy): string {
  if (authorities.every(({ key, policyKey }) => key === policyKey)) return '';
  const words = authorities.map(
    ({ name, key, policyKey }) =>
      `${name}${policyKey ? (policyKey === key ? '' : ` by ${policyKey.name}`) : ' by nobody'}`,
  );
  return `; policies are signed for ${words.join(', ')}`;
}

/** One paragraph for people: what the quorum tolerates. */
export function describePolicy(policy: Policy): string {
  const { figures } = policy;
  const name = `policy ${toHex(policy.hash).slice(0, 16)}`;
  if (!figures)
    return `${name}: no authorities are asked; "final" means signed by the gateway alone, which proves little`;
  return (
    `${name}: at least ${figures.smallestQuorum} of ${figures.authorities} authorities make a checkpoint final; ` +
    `any two quorums share ${figures.overlap}, so ${figures.mayLie} may lie with history still unique; ` +
    `any ${figures.mayBeDown} may be down${signersOf(policy)}`
  );
}
