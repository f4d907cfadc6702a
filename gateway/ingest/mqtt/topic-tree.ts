// Who has subscribed to what: a tree of filter levels, and for topics asked about before the answer itself. Knows
// nothing of connections; `S` is whoever subscribes.
import type { Subscription } from './decode.ts';
import { parseFilter } from './topic-filter.ts';

export interface Match<S> {
  readonly subscriber: S;
  readonly subscription: Subscription;
}

/** One of the members gets each message (MQTT 5 §4.8.2). */
export class ShareGroup<S> {
  readonly members: Match<S>[] = [];
  #next = 0;

  /** Takes turns among those `isReady`, else among all. */
  pick(isReady: (subscriber: S) => boolean): Match<S> {
    const count = this.members.length;
    for (let step = 0; step < count; step += 1) {
      const at = (this.#next + step) % count;
      if (!isReady(this.members[at]!.subscriber)) continue;
      this.#next = at + 1;
      return this.members[at]!;
    }
    this.#next = (this.#next + 1) % count;
    return this.members[this.#next]!;
  }
}

export interface Matches<S> {
  readonly plain: readonly Match<S>[];
  readonly shared: readonly ShareGroup<S>[];
}

interface Node<S> {
  readonly children: Map<string, Node<S>>;
  readonly plain: Map<S, Match<S>>;
  readonly groups: Map<string, ShareGroup<S>>;
}

/** Topics repeat, so almost every answer comes from memory; when full, or a subscription changes, it is forgotten. */
const MAX_REMEMBERED = 8_192;
/** Longer topics are not remembered. */
const MAX_REMEMBERED_CHARACTERS = 512;

const newNode = <S>(): Node<S> => ({ children: new Map(), plain: new Map(), groups: new Map() });

export class TopicTree<S> {
  readonly #none: Matches<S> = { plain: [], shared: [] };
  readonly #remembered = new Map<string, Matches<S>>();
  #root: Node<S> = newNode();
  #size = 0;

  /** Subscriptions held. */
  get size(): number {
    return this.#size;
  }

  /** True where the subscriber had none of this filter. */
  add(subscriber: S, subscription: Subscription): boolean {
    this.#remembered.clear();
    const { group, levels } = parseFilter(subscription.filter);
    let node = this.#root;
    for (const level of levels) {
      let child = node.children.get(level);
      if (child === undefined) {
        child = newNode();
        node.children.set(level, child);
      }
      node = child;
    }
    const match = { subscriber, subscription };
    const isNew =
      group === null ? !node.plain.has(subscriber) : !isMember(node.groups.get(group), subscriber);
    if (group === null) node.plain.set(subscriber, match);
    else {
      let members = node.groups.get(group);
      if (members === undefined) {
        members = new ShareGroup();
        node.groups.set(group, members);
      }
      const at = members.members.findIndex((member) => member.subscriber === subscriber);
      if (at < 0) members.members.push(match);
      else members.members[at] = match;
    }
    if (isNew) this.#size += 1;
    return isNew;
  }

  /** False where there was none. */
  remove(subscriber: S, filter: string): boolean {
    const { group, levels } = parseFilter(filter);
    const path = [this.#root];
    for (const level of levels) {
      const child = path.at(-1)!.children.get(level);
      if (child === undefined) return false;
      path.push(child);
    }
    if (!removeFrom(path.at(-1)!, subscriber, group)) return false;
    this.#size -= 1;
    this.#remembered.clear();
    for (let depth = levels.length; depth > 0; depth -= 1) {
      const { children, plain, groups } = path[depth]!;
      if (children.size + plain.size + groups.size > 0) break;
      path[depth - 1]!.children.delete(levels[depth - 1]!);
    }
    return true;
  }

  match(topic: string): Matches<S> {
    if (this.#size === 0) return this.#none;
    const known = this.#remembered.get(topic);
    if (known !== undefined) return known;
    const found = { plain: [] as Match<S>[], shared: [] as ShareGroup<S>[] };
    const levels = topic.split('/');
    collect(this.#root, levels, 0, found);
    const answer = found.plain.length + found.shared.length === 0 ? this.#none : found;
    if (topic.length <= MAX_REMEMBERED_CHARACTERS) {
      if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear();
      this.#remembered.set(topic, answer);
    }
    return answer;
  }
}

const isMember = <S>(group: ShareGroup<S> | undefined, subscriber: S): boolean =>
  group?.members.some((member) => member.subscriber === subscriber) ?? false;

function removeFrom<S>(node: Node<S>, subscriber: S, group: string | null): boolean {
  if (group === null) return node.plain.delete(subscriber);
  const members = node.groups.get(group)?.members;
  const at = members?.findIndex((member) => member.subscriber === subscriber) ?? -1;
  if (members === undefined || at < 0) return false;
  members.splice(at, 1);
  if (members.length === 0) node.groups.delete(group);
  return true;
}

function collect<S>(
  node: Node<S>,
  levels: readonly string[],
  depth: number,
  found: { plain: Match<S>[]; shared: ShareGroup<S>[] },
): void {
  // [MQTT-4.7.2-1]
  const wildcards = depth > 0 || !levels[0]!.startsWith('$');
  const rest = wildcards ? node.children.get('#') : undefined;
  if (rest !== undefined) take(rest, found);
  if (depth === levels.length) {
    take(node, found);
    return;
  }
  const exact = node.children.get(levels[depth]!);
  // A level can be neither + nor # here: topics have none.
  if (exact !== undefined) collect(exact, levels, depth + 1, found);
  const any = wildcards ? node.children.get('+') : undefined;
  if (any !== undefined) collect(any, levels, depth + 1, found);
}

function take<S>(node: Node<S>, found: { plain: Match<S>[]; shared: ShareGroup<S>[] }): void {
  for (const match of node.plain.values()) found.plain.push(match);
  for (const group of node.groups.values()) found.shared.push(group);
}
