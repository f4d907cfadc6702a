// What is known of Sparkplug edge nodes from their certificates: who is online, which metric an alias stands for,
// which sequence number comes next. A pure function of the messages in their order; bounded; refuses to guess a name.

import type { Whole } from '../codecs/protobuf.ts';
import type { SparkplugMetric, SparkplugPayload, SparkplugTopic } from '../codecs/sparkplug.ts';
import { type MetricValue, metricValue, type Unread } from '../codecs/sparkplug-values.ts';
import { StageStateError } from '../stage/deriving.ts';

export interface NodeLimits {
  readonly maxNodes: number;
  readonly maxMetrics: number;
}

/** Why an edge node should be asked for its births. */
export type RebirthCause = 'no-birth' | 'unknown-alias' | 'sequence-gap';

export interface NamedMetric {
  readonly name: string;
  readonly value: MetricValue;
  readonly timestampMs: number | null;
  readonly isHistorical: boolean;
}

export interface Taken {
  readonly metrics: readonly NamedMetric[];
  readonly rebirth: RebirthCause | null;
}

interface Definition {
  readonly name: string;
  readonly datatype: number | null;
  readonly alias: Whole | null;
}

/** The metrics of an edge node itself, or of one of its devices. */
interface Scope {
  online: boolean;
  readonly byName: Map<string, Definition>;
}

interface EdgeNode {
  readonly group: string;
  readonly node: string;
  online: boolean;
  bdSeq: Whole | null;
  /** The next sequence number; null: not known yet. */
  expected: number | null;
  /** '' is the node itself. */
  readonly scopes: Map<string, Scope>;
  /** An alias is unique in its edge node [tck-id-payloads-alias-uniqueness]. */
  readonly byAlias: Map<Whole, { readonly scope: string; readonly definition: Definition }>;
}

const NOTHING: Taken = { metrics: [], rebirth: null };
/** Which count tells why a value was not read. */
const UNREAD = {
  bytes: 'unreadBytes',
  definition: 'unreadDefinitions',
  malformed: 'unreadMalformed',
  tooLarge: 'unreadTooLarge',
  untyped: 'unreadUntyped',
  missing: 'unreadMissing',
} as const satisfies Record<Unread, string>;
const BD_SEQ = 'bdSeq';
const STATE_VERSION = 1;
const HOSTS_MAX = 64;

export class SparkplugNodes {
  readonly #limits: NodeLimits;
  /** Least recently heard first. */
  readonly #nodes = new Map<string, EdgeNode>();
  readonly #hosts = new Map<string, boolean>();
  #definitions = 0;
  readonly #counts = {
    values: 0,
    births: 0,
    deaths: 0,
    staleDeaths: 0,
    commands: 0,
    sequenceGaps: 0,
    unknownAliases: 0,
    withoutBirth: 0,
    unreadValues: 0,
    unreadBytes: 0,
    unreadDefinitions: 0,
    unreadMalformed: 0,
    unreadTooLarge: 0,
    unreadUntyped: 0,
    unreadMissing: 0,
    nodesForgotten: 0,
  };

  constructor(limits: NodeLimits) {
    this.#limits = limits;
  }

  figures() {
    const nodes = [...this.#nodes.values()];
    const online = nodes.filter((node) => node.online);
    const devices = online.flatMap(({ scopes }) => [...scopes].filter(([name]) => name !== ''));
    return {
      ...this.#counts,
      nodes: nodes.length,
      nodesOnline: online.length,
      devicesOnline: devices.filter(([, scope]) => scope.online).length,
      definitions: this.#definitions,
      hostsOnline: [...this.#hosts.values()].filter(Boolean).length,
    };
  }

  /** The message's metrics by name, as far as the certificates tell. */
  take(topic: SparkplugTopic, payload: SparkplugPayload): Taken {
    const { type } = topic;
    if (type === 'NCMD' || type === 'DCMD' || type === 'STATE') {
      this.#counts.commands += 1;
      return NOTHING;
    }
    const node = this.#node(topic);
    if (type === 'NBIRTH') return this.#nodeBirth(node, payload);
    if (type === 'NDEATH') return this.#nodeDeath(node, payload);
    if (!node.online) {
      this.#counts.withoutBirth += 1;
      return { metrics: [], rebirth: 'no-birth' };
    }
    const gap = this.#sequence(node, payload.seq);
    const scope = topic.device ?? '';
    const taken = this.#ofNode(node, scope, type, payload);
    this.#makeRoom();
    return { metrics: taken.metrics, rebirth: taken.rebirth ?? (gap ? 'sequence-gap' : null) };
  }

  /** A host application's STATE message. */
  host(name: string, online: boolean): void {
    this.#hosts.delete(name);
    this.#hosts.set(name, online);
    if (this.#hosts.size > HOSTS_MAX) this.#hosts.delete(this.#hosts.keys().next().value!);
  }

  #ofNode(node: EdgeNode, scope: string, type: SparkplugTopic['type'], payload: SparkplugPayload): Taken {
    if (type === 'DBIRTH') {
      this.#counts.births += 1;
      this.#define(node, scope, payload.metrics);
      return this.#named(node, scope, payload);
    }
    if (type === 'DDEATH') {
      this.#counts.deaths += 1;
      const device = node.scopes.get(scope);
      if (device) device.online = false;
      return NOTHING;
    }
    if (!node.scopes.get(scope)?.online) {
      this.#counts.withoutBirth += 1;
      return { metrics: [], rebirth: 'no-birth' };
    }
    return this.#named(node, scope, payload);
  }

  #nodeBirth(node: EdgeNode, payload: SparkplugPayload): Taken {
    this.#counts.births += 1;
    this.#forgetAll(node);
    node.online = true;
    node.bdSeq = bdSeqOf(payload);
    node.expected = payload.seq === null ? null : (payload.seq + 1) % 256;
    this.#define(node, '', payload.metrics);
    const taken = this.#named(node, '', payload);
    this.#makeRoom();
    return taken;
  }

  /** Only the death that belongs to the last birth counts: an older one comes late. */
  #nodeDeath(node: EdgeNode, payload: SparkplugPayload): Taken {
    const bdSeq = bdSeqOf(payload);
    if (node.online && node.bdSeq !== null && bdSeq !== null && bdSeq !== node.bdSeq) {
      this.#counts.staleDeaths += 1;
      return NOTHING;
    }
    this.#counts.deaths += 1;
    node.online = false;
    node.expected = null;
    for (const scope of node.scopes.values()) scope.online = false;
    return NOTHING;
  }

  /** True when a number was skipped. */
  #sequence(node: EdgeNode, seq: number | null): boolean {
    if (seq === null) return false;
    const gap = node.expected !== null && seq !== node.expected;
    if (gap) this.#counts.sequenceGaps += 1;
    node.expected = (seq + 1) % 256;
    return gap;
  }

  #named(node: EdgeNode, scope: string, { metrics }: SparkplugPayload): Taken {
    const named: NamedMetric[] = [];
    let rebirth: RebirthCause | null = null;
    const { byName } = node.scopes.get(scope)!;
    for (const metric of metrics) {
      const definition = metric.name === null ? this.#byAlias(node, scope, metric) : byName.get(metric.name);
      const name = metric.name ?? definition?.name;
      if (name === undefined) {
        this.#counts.unknownAliases += 1;
        rebirth = 'unknown-alias';
        continue;
      }
      if (name === BD_SEQ) continue;
      const read = metricValue(metric, metric.datatype ?? definition?.datatype ?? null);
      if ('unread' in read) {
        this.#counts.unreadValues += 1;
        this.#counts[UNREAD[read.unread]] += 1;
        continue;
      }
      this.#counts.values += 1;
      named.push({
        name,
        value: read.value,
        timestampMs: metric.timestampMs,
        isHistorical: metric.isHistorical,
      });
    }
    return { metrics: named, rebirth };
  }

  #byAlias(node: EdgeNode, scope: string, { alias }: SparkplugMetric): Definition | undefined {
    const known = alias === null ? undefined : node.byAlias.get(alias);
    return known?.scope === scope ? known.definition : undefined;
  }

  #define(node: EdgeNode, name: string, metrics: readonly SparkplugMetric[]): void {
    this.#forget(node, name);
    const scope: Scope = { online: true, byName: new Map() };
    node.scopes.set(name, scope);
    for (const metric of metrics) {
      if (metric.name === null || metric.name === BD_SEQ || scope.byName.has(metric.name)) continue;
      this.#add(node, name, { name: metric.name, datatype: metric.datatype, alias: metric.alias });
    }
  }

  #add(node: EdgeNode, scope: string, definition: Definition): void {
    node.scopes.get(scope)!.byName.set(definition.name, definition);
    if (definition.alias !== null) node.byAlias.set(definition.alias, { scope, definition });
    this.#definitions += 1;
  }

  #forget(node: EdgeNode, name: string): void {
    const scope = node.scopes.get(name);
    if (!scope) return;
    for (const { alias } of scope.byName.values()) {
      if (alias !== null && node.byAlias.get(alias)?.scope === name) node.byAlias.delete(alias);
    }
    this.#definitions -= scope.byName.size;
    node.scopes.delete(name);
  }

  #forgetAll(node: EdgeNode): void {
    for (const name of [...node.scopes.keys()]) this.#forget(node, name);
    node.byAlias.clear();
  }

  /** The node, which becomes the most recent. */
  #node({ group, node: name }: SparkplugTopic): EdgeNode {
    const key = `${group}/${name}`;
    const known = this.#nodes.get(key);
    if (known) this.#nodes.delete(key);
    const node = known ?? {
      group,
      node: name,
      online: false,
      bdSeq: null,
      expected: null,
      scopes: new Map(),
      byAlias: new Map(),
    };
    this.#nodes.set(key, node);
    if (!known) this.#makeRoom();
    return node;
  }

  /** The most recent node stays, however large: what it defined is bounded by its payloads. */
  #makeRoom(): void {
    const { maxNodes, maxMetrics } = this.#limits;
    while (this.#nodes.size > 1 && (this.#nodes.size > maxNodes || this.#definitions > maxMetrics)) {
      const [key, oldest] = this.#nodes.entries().next().value!;
      this.#forgetAll(oldest);
      this.#nodes.delete(key);
      this.#counts.nodesForgotten += 1;
    }
    // One node alone beyond the limit is not remembered either.
    const [newest] = this.#definitions > maxMetrics ? this.#nodes.values() : [];
    if (newest) {
      this.#forgetAll(newest);
      newest.online = false;
      this.#counts.nodesForgotten += 1;
    }
  }

  /**
   * State, version 1: UTF-8 JSON {"version":1,"counts":{…},"hosts":[[host, online]…],"nodes":[[group, node, online,
   * bdSeq, expected, [[scope, online, [[name, datatype, alias]…]]…]]…]}, least recently heard first; whole numbers
   * beyond 2^53 as decimal text.
   */
  serialise(): Uint8Array {
    const nodes = [...this.#nodes.values()].map(({ group, node, online, bdSeq, expected, scopes }) => [
      group,
      node,
      online,
      bdSeq,
      expected,
      [...scopes].map(([name, scope]) => [
        name,
        scope.online,
        [...scope.byName.values()].map(({ name, datatype, alias }) => [name, datatype, alias]),
      ]),
    ]);
    const state = { version: STATE_VERSION, counts: this.#counts, hosts: [...this.#hosts], nodes };
    return new TextEncoder().encode(
      JSON.stringify(state, (_key, value) => (typeof value === 'bigint' ? String(value) : value)),
    );
  }

  restore(bytes: Uint8Array): void {
    const state = JSON.parse(new TextDecoder().decode(bytes)) as SavedState;
    if (state.version !== STATE_VERSION)
      throw new StageStateError({ stage: 'sparkplug', version: state.version, known: STATE_VERSION });
    Object.assign(this.#counts, state.counts);
    for (const [host, online] of state.hosts) this.#hosts.set(host, online);
    for (const [group, name, online, bdSeq, expected, scopes] of state.nodes) {
      const node = this.#node({ type: 'NBIRTH', group, node: name, device: null });
      Object.assign(node, { online, bdSeq: wholeOf(bdSeq), expected });
      for (const [scope, scopeOnline, definitions] of scopes) {
        node.scopes.set(scope, { online: scopeOnline, byName: new Map() });
        for (const [metric, datatype, alias] of definitions)
          this.#add(node, scope, { name: metric, datatype, alias: wholeOf(alias) });
      }
    }
    this.#makeRoom();
  }
}

const wholeOf = (saved: number | string | null): Whole | null =>
  typeof saved === 'string' ? BigInt(saved) : saved;

/** [tck-id-payloads-nbirth-bdseq]: the metric bdSeq ties a death to its birth. */
function bdSeqOf({ metrics }: SparkplugPayload): Whole | null {
  const value = metrics.find(({ name }) => name === BD_SEQ)?.value;
  return typeof value === 'number' || typeof value === 'bigint' ? value : null;
}

interface SavedState {
  readonly version: number;
  readonly counts: Record<string, number>;
  readonly hosts: readonly (readonly [string, boolean])[];
  readonly nodes: readonly (readonly [
    group: string,
    node: string,
    online: boolean,
    bdSeq: number | string | null,
    expected: number | null,
    scopes: readonly (readonly [
      name: string,
      online: boolean,
      definitions: readonly (readonly [string, number | null, number | string | null])[],
    ])[],
  ])[];
}
