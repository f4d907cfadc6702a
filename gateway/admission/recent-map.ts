// A bounded map that forgets the least recently touched key. Keeps order in the entries themselves: a touch is a
// few pointer writes, not a deletion and an insertion.

interface Node<V> {
  readonly key: string;
  readonly value: V;
  newer: Node<V> | null;
  older: Node<V> | null;
}

export class RecentMap<V> {
  readonly #max: number;
  readonly #onForget: (key: string, value: V) => void;
  readonly #nodes = new Map<string, Node<V>>();
  #newest: Node<V> | null = null;
  #oldest: Node<V> | null = null;

  constructor(max: number, onForget: (key: string, value: V) => void) {
    this.#max = max;
    this.#onForget = onForget;
  }

  get size(): number {
    return this.#nodes.size;
  }

  /** The value, which becomes the most recent. */
  touch(key: string): V | undefined {
    // The one that has just been asked for is asked for again, mostly.
    if (this.#newest?.key === key) return this.#newest.value;
    const node = this.#nodes.get(key);
    if (node === undefined) return undefined;
    this.#unlink(node);
    this.#link(node);
    return node.value;
  }

  /** `key` must not be present. Forgets the least recent entry when the map is full. */
  add(key: string, value: V): void {
    if (this.#nodes.size >= this.#max) {
      const oldest = this.#oldest!;
      this.#unlink(oldest);
      this.#nodes.delete(oldest.key);
      this.#onForget(oldest.key, oldest.value);
    }
    const node: Node<V> = { key, value, newer: null, older: null };
    this.#nodes.set(key, node);
    this.#link(node);
  }

  /** From the least to the most recent. */
  *entries(): Generator<[string, V]> {
    for (let node = this.#oldest; node !== null; node = node.newer) yield [node.key, node.value];
  }

  #link(node: Node<V>): void {
    node.older = this.#newest;
    node.newer = null;
    if (this.#newest) this.#newest.newer = node;
    this.#newest = node;
    this.#oldest ??= node;
  }

  #unlink(node: Node<V>): void {
    if (node.older) node.older.newer = node.newer;
    else this.#oldest = node.newer;
    if (node.newer) node.newer.older = node.older;
    else this.#newest = node.older;
  }
}
