// A proof file as the prove box handles it: verify, change one byte, show the payload. Everything happens in
// this browser; nothing is asked of the gateway.
import { fromBase64, toBase64 } from '../../../ledger/format/base64.ts';
import type { ProofFile } from '../../../ledger/format/proof.ts';
import { type VerifyReport, verifyProof } from '../../../ledger/verify/index.ts';

export interface Checked {
  readonly text: string;
  readonly file: ProofFile | null;
  readonly report: VerifyReport;
  /** How long the verification took here, ms. */
  readonly tookMs: number;
}

/** `gatewayKey` is the verifier key text to check the gateway's signature against. */
export function check(text: string, gatewayKey: string): Checked {
  const began = performance.now();
  const report = verifyProof(text, { gatewayKey });
  const tookMs = performance.now() - began;
  return {
    text,
    report,
    tookMs,
    file: report.status === 'unusable' ? null : (JSON.parse(text) as ProofFile),
  };
}

export interface Flip {
  readonly text: string;
  /** Which byte of the payload, from 0. */
  readonly at: number;
  readonly before: number;
  readonly after: number;
}

/** The proof with the lowest bit of the payload's middle byte changed; null when the payload is empty. */
export function flipOneByte(file: ProofFile): Flip | null {
  const payload = fromBase64(file.record.payload, 'payload');
  if (payload.length === 0) return null;
  const at = Math.floor(payload.length / 2);
  const before = payload[at]!;
  payload[at] = before ^ 1;
  const record = { ...file.record, payload: toBase64(payload) };
  return { text: `${JSON.stringify({ ...file, record }, null, 2)}\n`, at, before, after: payload[at]! };
}

export interface ShownPayload {
  readonly kind: 'json' | 'text' | 'bytes';
  readonly text: string;
  readonly cut: boolean;
}

const SHOWN_CHARACTERS = 2000;
const SHOWN_BYTES = 512;

/** The payload for people: as text where it is text, else its bytes in hexadecimal. */
export function shownPayload(base64: string): ShownPayload {
  const bytes = fromBase64(base64, 'payload');
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return {
      kind: isJson(text) ? 'json' : 'text',
      text: text.slice(0, SHOWN_CHARACTERS),
      cut: text.length > SHOWN_CHARACTERS,
    };
  } catch {
    const hex = Array.from(bytes.subarray(0, SHOWN_BYTES), (byte) => byte.toString(16).padStart(2, '0'));
    return { kind: 'bytes', text: hex.join(' '), cut: bytes.length > SHOWN_BYTES };
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The record that an anomaly was made from, when this is one. */
export function originOf(file: ProofFile): number | null {
  if (!file.record.topic.startsWith('$tidemark/anomalies/')) return null;
  try {
    const { offset } = JSON.parse(new TextDecoder().decode(fromBase64(file.record.payload, 'payload'))) as {
      offset?: unknown;
    };
    return typeof offset === 'number' && Number.isSafeInteger(offset) && offset >= 0 ? offset : null;
  } catch {
    return null;
  }
}
