// Has every checkpoint cosigned: all authorities of the policy at once, each at its own pace, one size at a time, so that
// slow ones and quick ones sign the same tree. Never blocks sealing; says when what they hold cannot be of this disk.
import { setTimeout as sleep } from 'node:timers/promises';
import type { StageFigures } from '../../gateway/stage/types.ts';
import { parseCheckpoint } from '../format/checkpoint.ts';
import { FormatError } from '../format/errors.ts';
import { formatNote, parseNote, parseSignatureLine, type VerifierKey } from '../format/note.ts';
import { describePolicy, meetsQuorum, type Policy, quorumAuthorities } from '../format/policy.ts';
import type { TileReader } from '../format/tile.ts';
import { hasRoot, TileTree } from '../format/tile-tree.ts';
import { nodeSha256 } from '../tiles/hashing.ts';
import { isBelieved, judgeClaim } from './claims.ts';
import { AuthorityClient, type SubmitOutcome } from './client.ts';
import type { CosignConfig } from './config.ts';
import { type CosignMemory, NO_MEMORY } from './memory.ts';
import { Peer } from './peer.ts';

export interface SignedCheckpoint {
  readonly size: number;
  /** With the gateway's signatures alone. */
  readonly note: string;
}

export interface CosignerPorts {
  readonly config: CosignConfig;
  readonly ca: string | undefined;
  readonly tiles: TileReader;
  /** Keys of this gateway that may have signed a checkpoint of this size, one prepared for the next rotation included. */
  readonly keysAt: (size: number) => readonly VerifierKey[];
  readonly monotonicMs: () => number;
  readonly load: () => CosignMemory;
  readonly save: (memory: CosignMemory) => void;
  /** A checkpoint with the cosignatures it has by now; `final` once they meet the quorum. */
  readonly onCosigned: (note: string, size: number, final: boolean) => void;
  readonly onAlarm: (alarm: CosignAlarm) => void;
  readonly report: (figures: StageFigures) => void;
  readonly log: (level: 'info' | 'warn' | 'error', message: string, facts: Record<string, unknown>) => void;
}

export interface CosignAlarm {
  /**
   * rolled-back: sealing must stop. forked: an authority holds another history. claim-unproven: it says that it holds more
   * than was ever signed here, and that is all.
   */
  readonly kind: 'rolled-back' | 'forked' | 'claim-unproven';
  readonly authority: string;
  readonly message: string;
}

const STATE_OF = { 'rolled-back': 'ahead', forked: 'forked', 'claim-unproven': 'claims' } as const;

/** Answers of 409 in a row that are followed at once; a peer that keeps changing its mind has to wait. */
const CONFLICTS_MAX = 3;

export class Cosigner {
  readonly #ports: CosignerPorts;
  readonly #stop = new AbortController();
  #policy: Policy;
  #peers: Peer[] = [];
  #newest: SignedCheckpoint | null = null;
  /** What all are asked for now. */
  #round: SignedCheckpoint | null = null;
  #final: { readonly size: number; readonly note: string } | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(policy: Policy, ports: CosignerPorts) {
    this.#ports = ports;
    this.#policy = policy;
    this.#begin(policy, ports.load());
  }

  /** Another policy is in force: go on with its authorities. What is final stays final. */
  usePolicy(policy: Policy): void {
    const memory = this.#memory();
    for (const peer of this.#peers) peer.client.close();
    this.#policy = policy;
    this.#begin(policy, { ...memory, final: memory.final });
    this.#round = null;
    this.#tick();
  }

  /** A newer checkpoint was signed and stored. */
  offer(signed: SignedCheckpoint): void {
    this.#newest = signed;
    this.#tick();
    this.#report();
  }

  /**
   * Asks all about what is signed here, those that have cosigned it too: they may hold more by now. Resolves when all have
   * answered, or `waitMs` is over.
   */
  async probe(signed: SignedCheckpoint, waitMs: number): Promise<void> {
    if (this.#peers.length === 0 || waitMs === 0) return;
    this.#newest = signed;
    this.#round = signed;
    const asked = Promise.all(this.#peers.map((peer) => this.#ask(peer, signed)));
    const limit = new AbortController();
    await Promise.race([asked, sleep(waitMs, undefined, { signal: limit.signal }).catch(() => undefined)]);
    limit.abort();
  }

  /** The newest checkpoint with the cosignatures at hand, for a start: they were stored with it. */
  withCosignatures({ size, note }: SignedCheckpoint): string {
    return this.#merged(size, note);
  }

  /** Size of the newest checkpoint that met the quorum. */
  get finalSize(): number {
    return this.#final?.size ?? 0;
  }

  /** Its note; null for none. */
  get final(): string | null {
    return this.#final?.note ?? null;
  }

  /** Whether those that answer could make a quorum. */
  get isHopeful(): boolean {
    const names = this.#peers
      .filter(({ state }) => state === 'ok' || state === 'new')
      .map(({ name }) => name);
    return meetsQuorum(this.#policy, new Set(names));
  }

  close(): void {
    this.#stop.abort();
    if (this.#timer) clearTimeout(this.#timer);
    for (const peer of this.#peers) peer.client.close();
    if (this.#final || this.#peers.some((peer) => peer.cosigned)) this.#ports.save(this.#memory());
  }

  #begin(policy: Policy, memory: CosignMemory): void {
    const { config, ca, log } = this.#ports;
    const counted = quorumAuthorities(policy);
    const unreachable = policy.authorities.filter(({ url }) => url === null).map(({ name }) => name);
    if (unreachable.length > 0)
      log('warn', 'the policy gives no address for some authorities: they cannot be asked', {
        authorities: unreachable,
      });
    this.#peers = policy.authorities
      .filter(({ name, url }) => url !== null && counted.has(name))
      .map((authority) => {
        const client = new AuthorityClient({ url: authority.url!, timeoutMs: config.timeoutMs, ca });
        const peer = new Peer(authority, client);
        peer.remember(memory.authorities[peer.id]);
        return peer;
      });
    log('info', describePolicy(policy), { authorities: this.#peers.map(({ name }) => name) });
    const final = finalOf(memory.final);
    if (final && (!this.#final || final.size > this.#final.size)) this.#final = final;
  }

  #memory(): CosignMemory {
    const entries = this.#peers.flatMap(({ id, cosigned }) => (cosigned ? [[id, cosigned] as const] : []));
    return { ...NO_MEMORY, authorities: Object.fromEntries(entries), final: this.#final?.note ?? null };
  }

  /** Starts what can be started now, and a timer for what can later. */
  #tick(): void {
    if (this.#stop.signal.aborted || !this.#newest) return;
    if (!this.#round || this.#isRoundOver()) this.#round = this.#newest;
    const round = this.#round;
    const now = this.#ports.monotonicMs();
    let wakeMs = Number.POSITIVE_INFINITY;
    for (const peer of this.#peers) {
      if (peer.isAsked || this.#hasCosigned(peer, round)) continue;
      if (peer.notBeforeMs > now) wakeMs = Math.min(wakeMs, peer.notBeforeMs - now);
      else void this.#ask(peer, round);
    }
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = Number.isFinite(wakeMs) ? setTimeout(() => this.#tick(), Math.ceil(wakeMs) + 1) : null;
  }

  #hasCosigned(peer: Peer, { size }: SignedCheckpoint): boolean {
    return peer.cosigned?.size === size;
  }

  /**
   * A newer size is taken up once this one is final, or nobody is left who could still make it so. Were each authority
   * simply given the newest, quick and slow ones would sign different sizes for ever and none would reach a quorum.
   */
  #isRoundOver(): boolean {
    const round = this.#round!;
    if (round.size === this.#newest!.size) return false;
    if (this.finalSize >= round.size) return true;
    const now = this.#ports.monotonicMs();
    return !this.#peers.some(
      (peer) => peer.isAsked || (!this.#hasCosigned(peer, round) && peer.notBeforeMs <= now),
    );
  }

  async #ask(peer: Peer, round: SignedCheckpoint): Promise<void> {
    peer.isAsked = true;
    const policy = this.#policy;
    try {
      for (let conflicts = 0; conflicts < CONFLICTS_MAX; conflicts += 1) {
        const tree = new TileTree({ read: this.#ports.tiles, size: round.size, hash: nodeSha256 });
        const from = peer.held;
        const proof = from === 0 || from >= round.size ? [] : await tree.consistencyProof(from);
        const outcome = await peer.client.submit(
          { oldSize: Math.min(from, round.size), proof, note: round.note },
          this.#stop.signal,
        );
        if (this.#stop.signal.aborted || policy !== this.#policy) return;
        if (!(await this.#follow(peer, round, tree, outcome))) return;
      }
      this.#failed(peer, 'failing', 'it names another size each time');
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      // Our own tiles cannot be read: `tidemark fsck` says where. Nothing was sent.
      this.#failed(peer, 'failing', `no proof could be made: ${error.message}`);
    } finally {
      peer.isAsked = false;
      if (policy === this.#policy) {
        this.#tick();
        this.#report();
      }
    }
  }

  /** Takes an answer; true when it is worth asking again at once. */
  async #follow(
    peer: Peer,
    round: SignedCheckpoint,
    tree: TileTree,
    outcome: SubmitOutcome,
  ): Promise<boolean> {
    if (outcome.kind === 'answered') {
      const line = peer.lineFor(round.note, outcome.lines);
      if (line === null)
        this.#failed(peer, 'failing', 'its answer holds no cosignature of its key that fits');
      else this.#cosigned(peer, round, line);
      return false;
    }
    if (outcome.kind === 'conflict') {
      if (outcome.size === null || outcome.size <= this.#newest!.size)
        return this.#conflict(peer, round, outcome.size);
      await this.#claim(peer, outcome.size);
      return false;
    }
    if (outcome.kind === 'inconsistent') {
      // Only where our own tree is whole does the blame lie elsewhere.
      const sound = await hasRoot(tree, parseCheckpoint(parseNote(round.note).text).root);
      const message = `${peer.name} holds a tree of ${peer.held} blocks that this ledger does not extend: ${outcome.reason}`;
      if (sound) this.#alarm(peer, 'forked', message);
      else this.#failed(peer, 'failing', 'our own tiles do not lead to the signed root');
      return false;
    }
    this.#failed(
      peer,
      outcome.kind === 'refused' ? 'refused' : 'failing',
      outcome.reason,
      outcome.kind === 'failed' ? outcome.retryAfterMs : null,
    );
    return false;
  }

  /** It says that it has cosigned more than was ever signed here. One that lies must not be able to end sealing. */
  async #claim(peer: Peer, claimed: number): Promise<void> {
    const newest = () => parseCheckpoint(parseNote(this.#newest!.note).text);
    const { tiles, keysAt } = this.#ports;
    const policy = this.#policy;
    const verdict = await judgeClaim(peer.client, { tiles, keysAt, newest }, this.#stop.signal);
    if (this.#stop.signal.aborted || policy !== this.#policy) return;
    const { size } = this.#newest!;
    if (verdict.kind === 'proven') {
      const message = `${peer.name} has cosigned ${verdict.size} blocks of this gateway and shows the checkpoint, this disk knows ${size}: it was rolled back`;
      return this.#alarm(peer, 'rolled-back', message);
    }
    if (verdict.kind === 'fork') {
      const message = `${peer.name} has cosigned a checkpoint of ${verdict.size} blocks, signed with this gateway's key, that this ledger does not extend`;
      return this.#alarm(peer, 'forked', message);
    }
    peer.claimsMore = true;
    const claimants = new Set(this.#peers.filter((one) => one.claimsMore).map(({ name }) => name));
    if (isBelieved(policy, claimants)) {
      const message = `${[...claimants].join(', ')} say they have cosigned more blocks of this gateway than the ${size} this disk knows, and there is no quorum without them: it was rolled back`;
      return this.#alarm(peer, 'rolled-back', message);
    }
    const message = `${peer.name} claims to have cosigned ${claimed} blocks of this gateway, this disk knows ${size}, and there is no proof of it: ${verdict.why}`;
    this.#alarm(peer, 'claim-unproven', message);
  }

  #conflict(peer: Peer, round: SignedCheckpoint, size: number | null): boolean {
    // Without a size there is one guess worth making: that it never cosigned anything of ours.
    const next = size ?? 0;
    if (next === peer.held && next <= round.size) {
      this.#failed(peer, 'failing', 'HTTP 409 for the size it holds');
      return false;
    }
    peer.held = next;
    // It holds more than this round asks for (an answer of an earlier run was lost): the next round is for it.
    if (next <= round.size) return true;
    this.#failed(peer, 'failing', `it holds ${next} blocks already, which is more than is asked for now`, 0);
    this.#round = this.#newest;
    return false;
  }

  #cosigned(peer: Peer, round: SignedCheckpoint, line: string): void {
    if (peer.state !== 'ok' && peer.state !== 'new')
      this.#ports.log('info', `authority ${peer.name} cosigns again`, { size: round.size });
    peer.succeeded(round.size, line);
    const names = new Set(this.#peers.filter((one) => this.#hasCosigned(one, round)).map(({ name }) => name));
    const isFinal = meetsQuorum(this.#policy, names);
    const note = this.#merged(round.size, round.note);
    if (isFinal) this.#final = { size: round.size, note };
    if (isFinal || !this.#isWaitedFor(round)) this.#ports.save(this.#memory());
    // A crash before the save loses cosignatures that can be had again: the same size and root is cosigned again.
    this.#ports.onCosigned(note, round.size, isFinal);
  }

  #isWaitedFor(round: SignedCheckpoint): boolean {
    return this.#peers.some((peer) => peer.isAsked && !this.#hasCosigned(peer, round));
  }

  /** The note with the cosignatures there are of this size, in the order of the policy. */
  #merged(size: number, note: string): string {
    const { text, signatures } = parseNote(note);
    const lines = this.#peers.flatMap(({ cosigned }) =>
      cosigned?.size === size ? [parseSignatureLine(cosigned.line.trimEnd())] : [],
    );
    return formatNote({ text, signatures: [...signatures, ...lines] });
  }

  #failed(peer: Peer, state: Peer['state'], reason: string, waitMs: number | null = null): void {
    if (peer.failures === 0)
      this.#ports.log('warn', `authority ${peer.name} does not cosign`, { reason, state });
    peer.failed(state, reason, this.#ports.monotonicMs(), this.#ports.config, waitMs);
  }

  /** Once, when it begins; and it counts as failing. */
  #alarm(peer: Peer, kind: CosignAlarm['kind'], message: string): void {
    const isNew = peer.state !== STATE_OF[kind];
    this.#failed(peer, STATE_OF[kind], message);
    if (!isNew) return;
    this.#ports.log('error', message, { authority: peer.name });
    this.#ports.onAlarm({ kind, authority: peer.name, message });
  }

  /** The gravest alarm there is. */
  #alarming(): { kind: CosignAlarm['kind']; peer: Peer } | null {
    for (const kind of ['rolled-back', 'forked', 'claim-unproven'] as const) {
      const peer = this.#peers.find(({ state }) => state === STATE_OF[kind]);
      if (peer) return { kind, peer };
    }
    return null;
  }

  #report(): void {
    const size = this.#newest?.size ?? 0;
    const alarming = this.#alarming();
    const figures: Record<string, number | string | boolean | null> = {
      final: size > 0 && this.finalSize >= size,
      finalSize: this.finalSize,
      alarm: alarming?.kind ?? null,
      alarmMessage: alarming?.peer.lastError ?? null,
      authorities: this.#peers.length,
      authoritiesUp: this.#peers.filter(({ state }) => state === 'ok').length,
    };
    for (const peer of this.#peers) {
      figures[`authority.${peer.name}.state`] = peer.state;
      figures[`authority.${peer.name}.size`] = peer.cosigned?.size ?? 0;
      figures[`authority.${peer.name}.failures`] = peer.failures;
      figures[`authority.${peer.name}.lastError`] = peer.lastError;
    }
    this.#ports.report(figures);
  }
}

function finalOf(note: string | null): { size: number; note: string } | null {
  if (note === null) return null;
  try {
    return { size: parseCheckpoint(parseNote(note).text).size, note };
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}
