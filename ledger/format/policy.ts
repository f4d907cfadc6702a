// Policy text (C2SP tlog-policy): known gateways, authorities and the quorum, and what it tolerates. No network.
import { parseDecimal } from './decimal.ts';
import { FormatError } from './errors.ts';
import { sha256, toHex } from './hash.ts';
import { formatVerifierKey, parseVerifierKey, SIGNATURE_TYPE, type VerifierKey } from './note.ts';
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

/*
 * policy    = line*                               lines end in LF; items divided by spaces and tabs
 * line      = "" | "#" anything
 *           | "log" key [url]
 *           | "witness" name key [url]
 *           | "group" name ( k | "all" | "any" ) member+     1 ≤ k ≤ number of members
 *           | "quorum" ( name | "none" )          exactly once
 * Names are defined before they are used, once, and are a member of at most one group.
 */
const MAX_POLICY_BYTES = 256 * 1024;
/** Most logs, most authorities, most groups. The specification asks for at least 32 of each. */
const MAX_ITEMS = 1024;

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

/** One paragraph for people: what the quorum tolerates. */
export function describePolicy(policy: Policy): string {
  const { figures } = policy;
  const name = `policy ${toHex(policy.hash).slice(0, 16)}`;
  if (!figures)
    return `${name}: no authorities are asked; "final" means signed by the gateway alone, which proves little`;
  return (
    `${name}: at least ${figures.smallestQuorum} of ${figures.authorities} authorities make a checkpoint final; ` +
    `any two quorums share ${figures.overlap}, so ${figures.mayLie} may lie with history still unique; ` +
    `any ${figures.mayBeDown} may be down`
  );
}

class PolicyBuilder {
  readonly #logs: PolicyLog[] = [];
  readonly #authorities: PolicyAuthority[] = [];
  readonly #groups: PolicyGroup[] = [];
  /** Figures of every defined name, computed as it is defined. */
  readonly #figures = new Map<string, QuorumFigures>();
  readonly #members = new Set<string>();
  #quorum: string | undefined;
  #lineNumber = 0;

  line(line: string, lineNumber: number): void {
    this.#lineNumber = lineNumber;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
    if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(line)) throw this.#invalid('has a control character');
    const [keyword, ...items] = line.split(/[ \t]+/).filter((item) => item !== '');
    if (keyword === '#tidemark') this.#directive(items);
    if (keyword === undefined || keyword.startsWith('#')) return;
    if (keyword === 'log') this.#log(items);
    else if (keyword === 'witness') this.#witness(items);
    else if (keyword === 'group') this.#group(items);
    else if (keyword === 'quorum') this.#setQuorum(items);
    else
      throw this.#invalid(
        `begins with ${JSON.stringify(keyword.slice(0, 40))}, not log, witness, group or quorum`,
      );
  }

  build(text: string, hash: Uint8Array): Policy {
    if (this.#quorum === undefined) throw new FormatError('POLICY_INVALID', 'a policy needs a quorum line');
    const quorum = this.#quorum === 'none' ? null : this.#quorum;
    return {
      text,
      hash,
      logs: this.#logs,
      authorities: this.#authorities,
      groups: this.#groups,
      quorum,
      figures: quorum === null ? null : this.#figures.get(quorum)!,
    };
  }

  #log(items: readonly string[]): void {
    const [text, url, ...rest] = items;
    if (text === undefined || rest.length > 0) throw this.#invalid('is not "log <key> [<url>]"');
    const key = this.#key(text, SIGNATURE_TYPE.ed25519, this.#logs);
    this.#logs.push({ key, url: url ?? null, notAfter: null });
  }

  #directive(items: readonly string[]): void {
    const [name, text, size, ...rest] = items;
    if (name !== 'not-after' || text === undefined || size === undefined || rest.length > 0)
      throw this.#invalid('is not "#tidemark not-after <log key> <size>"');
    const index = this.#logs.findIndex(({ key }) => formatVerifierKey(key) === text);
    if (index < 0) throw this.#invalid('gives up a key that no log line above names');
    const notAfter = parseDecimal(size, `line ${this.#lineNumber}: size`, 'POLICY_INVALID');
    this.#logs[index] = { ...this.#logs[index]!, notAfter };
  }

  #witness(items: readonly string[]): void {
    const [name, text, url, ...rest] = items;
    if (name === undefined || text === undefined || rest.length > 0) {
      throw this.#invalid('is not "witness <name> <key> [<url>]"');
    }
    const key = this.#key(text, SIGNATURE_TYPE.cosignature, this.#authorities);
    this.#define(name, { authorities: 1, smallestQuorum: 1, overlap: 1, mayLie: 0, mayBeDown: 0 });
    this.#authorities.push({ name, key, url: url ?? null });
  }

  #group(items: readonly string[]): void {
    const [name, k, ...members] = items;
    if (name === undefined || k === undefined || members.length === 0) {
      throw this.#invalid('is not "group <name> <k|all|any> <member>…"');
    }
    if (this.#groups.length >= MAX_ITEMS) throw this.#invalid(`is one group more than ${MAX_ITEMS}`);
    for (const member of members) {
      if (!this.#figures.has(member)) throw this.#invalid(`names ${member}, which is not defined above`);
      if (this.#members.has(member))
        throw this.#invalid(`names ${member}, which is already a member of a group`);
      this.#members.add(member);
    }
    const threshold =
      k === 'all'
        ? members.length
        : k === 'any'
          ? 1
          : parseDecimal(k, `line ${this.#lineNumber}: threshold`, 'POLICY_INVALID');
    if (threshold < 1 || threshold > members.length)
      throw this.#invalid(`asks for ${threshold} of ${members.length} members`);
    this.#define(
      name,
      groupFigures(
        threshold,
        members.map((member) => this.#figures.get(member)!),
      ),
    );
    this.#groups.push({ name, threshold, members });
  }

  #setQuorum(items: readonly string[]): void {
    const [name, ...rest] = items;
    if (name === undefined || rest.length > 0) throw this.#invalid('is not "quorum <name|none>"');
    if (this.#quorum !== undefined) throw this.#invalid('is a second quorum line');
    if (name !== 'none' && !this.#figures.has(name))
      throw this.#invalid(`names ${name}, which is not defined above`);
    this.#quorum = name;
  }

  #define(name: string, figures: QuorumFigures): void {
    if (name === 'none') throw this.#invalid('defines "none", which has a meaning already');
    if (this.#figures.has(name)) throw this.#invalid(`defines ${name} a second time`);
    this.#figures.set(name, figures);
  }

  #key(text: string, type: number, others: readonly { key: VerifierKey }[]): VerifierKey {
    if (others.length >= MAX_ITEMS) throw this.#invalid(`is one key more than ${MAX_ITEMS}`);
    let key: VerifierKey;
    try {
      key = parseVerifierKey(text);
    } catch (cause) {
      throw this.#invalid(`has a key that is refused: ${cause instanceof Error ? cause.message : ''}`, cause);
    }
    if (key.type !== type) throw this.#invalid(`has a key of type ${key.type}, not ${type}`);
    const hex = toHex(key.publicKey);
    if (others.some((other) => toHex(other.key.publicKey) === hex))
      throw this.#invalid('has a key that is there already');
    return key;
  }

  #invalid(message: string, cause?: unknown): FormatError {
    const line = this.#lineNumber;
    return new FormatError('POLICY_INVALID', `line ${line} of the policy ${message}`, {
      facts: { line },
      cause,
    });
  }
}

/**
 * Figures of "k of these": no name is in two groups, so members fail and sign independently. Two choices of k
 * from m share at least 2k − m members, at worst those that share least within; a group is out of reach when
 * m − k + 1 members are, at best for an attacker those that need fewest failures.
 */
function groupFigures(threshold: number, members: readonly QuorumFigures[]): QuorumFigures {
  const smallest = (values: number[], count: number) =>
    values
      .sort((a, b) => a - b)
      .slice(0, Math.max(0, count))
      .reduce((sum, value) => sum + value, 0);
  const overlap = smallest(
    members.map((member) => member.overlap),
    2 * threshold - members.length,
  );
  return {
    authorities: members.reduce((sum, member) => sum + member.authorities, 0),
    smallestQuorum: smallest(
      members.map((member) => member.smallestQuorum),
      threshold,
    ),
    overlap,
    mayLie: Math.max(0, overlap - 1),
    mayBeDown:
      smallest(
        members.map((member) => member.mayBeDown + 1),
        members.length - threshold + 1,
      ) - 1,
  };
}
