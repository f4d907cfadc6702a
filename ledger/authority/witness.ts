// Decides on a submitted checkpoint as C2SP tlog-witness asks, and cosigns at most one history of each gateway: what it
// signs it has stored before. Knows no HTTP.
import { type AddCheckpoint, parseAddCheckpoint } from '../format/add-checkpoint.ts';
import { toBase64 } from '../format/base64.ts';
import { type Checkpoint, parseCheckpoint } from '../format/checkpoint.ts';
import { cosignatureMessage, formatCosignature } from '../format/cosignature.ts';
import { FormatError } from '../format/errors.ts';
import { EMPTY_ROOT, equalBytes } from '../format/hash.ts';
import { rootsFromConsistency, verifyConsistency } from '../format/merkle.ts';
import {
  formatNote,
  formatSignatureLine,
  formatVerifierKey,
  type NoteSignature,
  parseNote,
  SIGNATURE_TYPE,
  type SignedNote,
  type VerifierKey,
  verifierKey,
} from '../format/note.ts';
import type { SigningKey } from '../keys/file.ts';
import { nodeSha256 } from '../tiles/hashing.ts';
import type { EvidenceFile } from '../verify/evidence.ts';
import { type ServedGateway, signerOf } from './gateways.ts';
import type { HeadStore, StoredHead } from './store.ts';

/** The statuses of the specification, each with what the answer's body is made of. */
export type WitnessAnswer =
  | { readonly status: 200; readonly lines: string; readonly origin: string; readonly size: number }
  | { readonly status: 400 | 403 | 404 | 422; readonly reason: string }
  | { readonly status: 409; readonly size: number };

export interface WitnessOptions {
  readonly name: string;
  readonly key: SigningKey;
  readonly heads: HeadStore;
  /** As the configuration has them at this moment. */
  readonly gatewayOf: (origin: string) => ServedGateway | undefined;
  readonly historyKept: number;
  readonly nowMs: () => number;
  /** Called with what proves that a gateway signed two histories. */
  readonly onEvidence: (origin: string, evidence: EvidenceFile) => void;
}

interface Submission extends AddCheckpoint {
  readonly signed: SignedNote;
  readonly checkpoint: Checkpoint;
  /** A tree of size 0 with a root that is not the empty tree's. */
  readonly falseEmpty: boolean;
}

export class Witness {
  readonly verifierKey: VerifierKey;
  readonly #options: WitnessOptions;

  constructor(options: WitnessOptions) {
    this.#options = options;
    this.verifierKey = verifierKey(options.name, options.key.publicKey, SIGNATURE_TYPE.cosignature);
  }

  /** The newest checkpoint cosigned of an origin, as a note with both signatures. */
  newest(origin: string): StoredHead | null {
    return this.#options.heads.newest(origin);
  }

  addCheckpoint(body: Uint8Array): WitnessAnswer {
    let submission: Submission;
    try {
      submission = readSubmission(body);
    } catch (error) {
      if (error instanceof FormatError) return { status: 400, reason: error.message };
      throw error;
    }
    const { checkpoint, oldSize, signed, note } = submission;
    const gateway = this.#options.gatewayOf(checkpoint.origin);
    if (!gateway) return { status: 404, reason: 'this authority does not know the origin' };
    const signer = signerOf(gateway, signed, checkpoint.size);
    if (signer.kind !== 'signed') return { status: 403, reason: REFUSED_SIGNER[signer.kind] };
    if (oldSize > checkpoint.size)
      return { status: 400, reason: 'the old size is larger than the checkpoint' };

    let answer: WitnessAnswer = { status: 409, size: 0 };
    const { heads, historyKept, nowMs } = this.#options;
    const now = nowMs();
    // A crash before swap() returns: nothing is stored, nobody was answered.
    heads.swap(checkpoint.origin, historyKept, now, (newest) => {
      const refusal = this.#refusal(submission, newest, gateway, signer.key);
      if (refusal) {
        answer = refusal;
        return null;
      }
      const cosignature = this.#cosign(signed.text, now);
      answer = {
        status: 200,
        lines: formatSignatureLine(cosignature),
        origin: checkpoint.origin,
        size: checkpoint.size,
      };
      const { keyId } = signer.key;
      const own = parseNote(note).signatures.filter(
        (line) => line.keyId === keyId && line.name === signer.key.name,
      );
      return {
        size: checkpoint.size,
        root: checkpoint.root,
        note: formatNote({ text: signed.text, signatures: [own[0]!, cosignature] }),
      };
    });
    // A crash from here on leaves a stored head the gateway has no cosignature of: it asks again and gets one.
    return answer;
  }

  /** Why this is not cosigned, or null. What shows two histories becomes evidence, whatever the answer is. */
  #refusal(
    submission: Submission,
    newest: StoredHead | null,
    gateway: ServedGateway,
    signer: VerifierKey,
  ): WitnessAnswer | null {
    const { checkpoint, oldSize, proof, note, falseEmpty } = submission;
    const { origin, size, root } = checkpoint;
    const stored = newest?.size ?? 0;
    const earlier = newest?.size === size ? newest : this.#options.heads.at(origin, size);
    if (earlier && !equalBytes(earlier.root, root))
      this.#accuse(signer, origin, { first: earlier.note, second: note });
    if (oldSize !== stored) return { status: 409, size: stored };
    if (falseEmpty) return { status: 422, reason: 'an empty tree has the root SHA-256("")' };
    if (oldSize === 0)
      return proof.length === 0 ? null : { status: 422, reason: 'there is no proof from an empty tree' };
    if (verifyConsistency(oldSize, size, newest!.root, root, proof, nodeSha256)) return null;
    if (size === oldSize) return { status: 422, reason: 'another root was cosigned at this size' };
    const found = rootsFromConsistency(oldSize, size, newest!.root, proof, nodeSha256);
    // The proof is good, but from another tree than the one that was cosigned: the gateway signed both.
    if (found && equalBytes(found.newRoot, root) && !equalBytes(found.oldRoot, newest!.root)) {
      this.#accuse(signer, origin, {
        first: newest!.note,
        second: note,
        extended: { root: found.oldRoot, proof },
      });
    }
    return {
      status: 422,
      reason: `the proof does not lead from the cosigned tree of ${oldSize} (${gateway.origin})`,
    };
  }

  #accuse(
    signer: VerifierKey,
    origin: string,
    { first, second, extended }: Pick<EvidenceFile, 'first' | 'second' | 'extended'>,
  ): void {
    this.#options.onEvidence(origin, {
      first,
      second,
      ...(extended && { extended }),
      gatewayKey: formatVerifierKey(signer),
      foundBy: this.#options.name,
      foundMs: this.#options.nowMs(),
    });
  }

  #cosign(text: string, nowMs: number): NoteSignature {
    const timeSeconds = Math.max(1, Math.floor(nowMs / 1_000));
    const signature = this.#options.key.sign(cosignatureMessage(text, timeSeconds));
    const { name, keyId } = this.verifierKey;
    return { name, keyId, signature: formatCosignature({ timeSeconds, signature }) };
  }
}

const REFUSED_SIGNER = {
  unsigned: 'no key this authority knows for the origin signed the checkpoint',
  forged: 'a signature by a known key does not fit the checkpoint',
  revoked: 'the key that signed the checkpoint is revoked for trees of this size',
} as const;

function readSubmission(body: Uint8Array): Submission {
  const submission = parseAddCheckpoint(body);
  const signed = parseNote(submission.note);
  const lines = signed.text.split('\n');
  const empty = toBase64(EMPTY_ROOT);
  const falseEmpty = lines[1] === '0' && lines[2] !== empty;
  const checkpoint = parseCheckpoint(falseEmpty ? `${lines[0]}\n0\n${empty}\n` : signed.text);
  return { ...submission, signed, checkpoint, falseEmpty };
}
