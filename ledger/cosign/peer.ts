// One authority as the gateway sees it: what it holds, what it cosigned last, when it may be asked again. A circuit
// breaker with one lamp: asked less and less often while it fails. Sends nothing itself.
import { FormatError } from '../format/errors.ts';
import {
  checkSignatures,
  formatSignatureLine,
  keyIdHex,
  parseNote,
  parseSignatureLine,
  signedBy,
} from '../format/note.ts';
import type { PolicyAuthority } from '../format/policy.ts';
import { nodeEd25519 } from '../keys/ed25519.ts';
import type { AuthorityClient } from './client.ts';
import type { CosignConfig } from './config.ts';

export type PeerState =
  | 'new' // not asked yet
  | 'ok'
  | 'failing' // no answer, or none that counts
  | 'refused' // it does not know this gateway or its key
  | 'forked' // it holds a tree that ours does not extend
  | 'claims' // it says that it holds more than was ever signed here, and shows no proof
  | 'ahead'; // it does hold more than was ever signed here: this disk was rolled back

export class Peer {
  readonly name: string;
  readonly authority: PolicyAuthority;
  readonly client: AuthorityClient;
  state: PeerState = 'new';
  lastError: string | null = null;
  /** Size its next submission starts from. */
  held = 0;
  /** Newest cosignature, of the checkpoint of `size`. */
  cosigned: { readonly size: number; readonly line: string } | null = null;
  isAsked = false;
  /** It says that it holds more than this disk knows, and has not cosigned since. */
  claimsMore = false;
  failures = 0;
  /** Monotonic ms from which it may be asked again. */
  notBeforeMs = 0;

  constructor(authority: PolicyAuthority, client: AuthorityClient) {
    this.name = authority.name;
    this.authority = authority;
    this.client = client;
  }

  /** Stable across policies: the same key may have another name in the next. */
  get id(): string {
    return `${this.authority.key.name}+${keyIdHex(this.authority.key.keyId)}`;
  }

  remember(memory: { readonly size: number; readonly line: string } | undefined): void {
    if (!memory) return;
    this.held = memory.size;
    this.cosigned = memory;
  }

  /** @param waitMs 0: it may be asked again at once; more: what it asked for, waited for at least. Never less than the backoff. */
  failed(
    state: PeerState,
    reason: string,
    nowMs: number,
    config: CosignConfig,
    waitMs: number | null = null,
  ): void {
    this.state = state;
    this.lastError = reason;
    this.failures += 1;
    const backoff = Math.min(config.retryMaxMs, config.retryFirstMs * 2 ** Math.min(20, this.failures - 1));
    // Half of it at random, so that gateways that lost the same authority do not come back at once.
    const jittered = backoff / 2 + (Math.random() * backoff) / 2;
    this.notBeforeMs = nowMs + (waitMs === 0 ? 0 : Math.max(waitMs ?? 0, jittered));
  }

  succeeded(size: number, line: string): void {
    this.state = 'ok';
    this.claimsMore = false;
    this.lastError = null;
    this.failures = 0;
    this.notBeforeMs = 0;
    this.held = size;
    this.cosigned = { size, line };
  }

  /** Its own cosignature among the lines of an answer, if it fits this note; whatever else is there is ignored. */
  lineFor(note: string, lines: string): string | null {
    const { key } = this.authority;
    for (const line of lines.split('\n')) {
      try {
        const signature = parseSignatureLine(line);
        if (!signedBy(signature, key)) continue;
        const signed = { text: parseNote(note).text, signatures: [signature] };
        const [checked] = checkSignatures(signed, [key], nodeEd25519);
        if (checked?.ok && checked.cosignature!.timeSeconds > 0) return formatSignatureLine(signature);
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
      }
    }
    return null;
  }
}
