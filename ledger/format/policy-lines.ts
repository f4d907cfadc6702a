// The lines of a policy text, one after another, and the figures of its quorum. What a policy is worth is policy.ts's business.
import { parseDecimal } from './decimal.ts';
import { FormatError } from './errors.ts';
import { toHex } from './hash.ts';
import { formatVerifierKey, parseVerifierKey, SIGNATURE_TYPE, type VerifierKey } from './note.ts';
import type { Policy, PolicyAuthority, PolicyGroup, PolicyLog, QuorumFigures } from './policy.ts';

/*
 * policy    = line*                               lines end in LF; items divided by spaces and tabs
 * line      = "" | "#" anything
 *           | "log" key [url]
 *           | "witness" name key [url]
 *           | "group" name ( k | "all" | "any" ) member+     1 ≤ k ≤ number of members
 *           | "quorum" ( name | "none" )          exactly once
 * A comment that begins with "#tidemark " is one of ours; to other readers of policies it says nothing:
 *           "#tidemark not-after" key size            a log key above counts up to this size
 *           "#tidemark policy-key" name ( key | "none" )   who signs policies for a witness above that signs only checkpoints
 * No key stands in two lines, but for those of not-after. Names are defined before they are used, once, and are a member of
 * at most one group.
 */
/** Most logs, most authorities, most groups. The specification asks for at least 32 of each. */
const MAX_ITEMS = 1024;

/** Takes a policy line by line; throws POLICY_INVALID naming the line. */
export class PolicyBuilder {
  readonly #logs: PolicyLog[] = [];
  readonly #authorities: PolicyAuthority[] = [];
  readonly #groups: PolicyGroup[] = [];
  /** Figures of every defined name, computed as it is defined. */
  readonly #figures = new Map<string, QuorumFigures>();
  /** Each stands for one holder in one part: nobody signs for two, and no gateway for its witnesses. */
  readonly #keys = new Set<string>();
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
    const key = this.#key(text, SIGNATURE_TYPE.ed25519, this.#logs.length);
    this.#logs.push({ key, url: url ?? null, notAfter: null });
  }

  #directive([directive, name, value, ...rest]: readonly string[]): void {
    const take =
      directive === 'not-after' ? this.#notAfter : directive === 'policy-key' ? this.#policyKey : null;
    if (take === null || name === undefined || value === undefined || rest.length > 0)
      throw this.#invalid(
        'is not "#tidemark not-after <log key> <size>" or "#tidemark policy-key <witness> <key|none>"',
      );
    take.call(this, name, value);
  }

  #notAfter(text: string, size: string): void {
    const index = this.#logs.findIndex(({ key }) => formatVerifierKey(key) === text);
    if (index < 0) throw this.#undefined(text);
    const notAfter = parseDecimal(size, `line ${this.#lineNumber}: size`, 'POLICY_INVALID');
    this.#logs[index] = { ...this.#logs[index]!, notAfter };
  }

  #policyKey(witness: string, text: string): void {
    const index = this.#authorities.findIndex(({ name }) => name === witness);
    const authority = this.#authorities[index];
    if (!authority) throw this.#undefined(witness);
    if (authority.policyKey !== authority.key) throw this.#invalid(`names ${witness} again`);
    const policyKey = text === 'none' ? null : this.#key(text, SIGNATURE_TYPE.ed25519, 0);
    this.#authorities[index] = { ...authority, policyKey };
  }

  #witness(items: readonly string[]): void {
    const [name, text, url, ...rest] = items;
    if (name === undefined || text === undefined || rest.length > 0) {
      throw this.#invalid('is not "witness <name> <key> [<url>]"');
    }
    const key = this.#key(text, SIGNATURE_TYPE.cosignature, this.#authorities.length);
    this.#define(name, { authorities: 1, smallestQuorum: 1, overlap: 1, mayLie: 0, mayBeDown: 0 });
    this.#authorities.push({ name, key, policyKey: key, url: url ?? null });
  }

  #group(items: readonly string[]): void {
    const [name, k, ...members] = items;
    if (name === undefined || k === undefined || members.length === 0) {
      throw this.#invalid('is not "group <name> <k|all|any> <member>…"');
    }
    if (this.#groups.length >= MAX_ITEMS) throw this.#invalid(`is one group more than ${MAX_ITEMS}`);
    for (const member of members) {
      if (!this.#figures.has(member)) throw this.#undefined(member);
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
    if (name !== 'none' && !this.#figures.has(name)) throw this.#undefined(name);
    this.#quorum = name;
  }

  #define(name: string, figures: QuorumFigures): void {
    if (name === 'none') throw this.#invalid('defines "none", which has a meaning already');
    if (this.#figures.has(name)) throw this.#invalid(`defines ${name} a second time`);
    this.#figures.set(name, figures);
  }

  #key(text: string, type: number, before: number): VerifierKey {
    if (before >= MAX_ITEMS) throw this.#invalid(`is one key more than ${MAX_ITEMS}`);
    let key: VerifierKey;
    try {
      key = parseVerifierKey(text);
    } catch (cause) {
      throw this.#invalid(`has a key that is refused: ${cause instanceof Error ? cause.message : ''}`, cause);
    }
    if (key.type !== type) throw this.#invalid(`has a key of type ${key.type}, not ${type}`);
    const hex = toHex(key.publicKey);
    if (this.#keys.has(hex)) throw this.#invalid('has a key that is there already');
    this.#keys.add(hex);
    return key;
  }

  #undefined(name: string): FormatError {
    return this.#invalid(`names ${name}, which is not defined above`);
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
