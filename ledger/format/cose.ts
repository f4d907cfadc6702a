// A COSE receipt (RFC 9942) for one block: an inclusion proof under a root that the gateway signs in COSE's way. Encodes
// the little CBOR it needs, deterministically (RFC 8949 §4.2); reads none and holds no key.
import { HASH_BYTES } from './hash.ts';

type Cbor = number | string | null | Uint8Array | readonly Cbor[] | ReadonlyMap<number, Cbor>;

const TAG_SIGN1 = 18;
/** COSE header labels (RFC 9052 §3.1, RFC 9942 §2). */
const ALG = 1;
const KID = 4;
const VDS = 395;
const VDP = 396;
const ALG_EDDSA = -8;
const VDS_RFC9162_SHA256 = 1;
const PROOF_INCLUSION = -1;

export interface ReceiptFacts {
  readonly size: number;
  readonly index: number;
  readonly path: readonly Uint8Array[];
  /** Root of the tree of `size`: the detached payload. */
  readonly root: Uint8Array;
  readonly keyId: Uint8Array;
}

/*
 * receipt   = 18([protected: bstr, {396: {-1: [bstr .cbor [size, index, [hash, …]]]}}, nil, signature])
 * protected = {1: -8 (EdDSA), 4: key id, 395: 1 (RFC9162_SHA256)}
 * signature = Ed25519 over ["Signature1", protected, h'', root]
 */
export function formatReceipt(facts: ReceiptFacts, sign: (message: Uint8Array) => Uint8Array): Uint8Array {
  const { size, index, path, root, keyId } = facts;
  if (root.length !== HASH_BYTES) throw new RangeError('the root is not 32 bytes');
  const header = encode(
    new Map<number, Cbor>([
      [ALG, ALG_EDDSA],
      [KID, keyId],
      [VDS, VDS_RFC9162_SHA256],
    ]),
  );
  const proofs = new Map<number, Cbor>([[PROOF_INCLUSION, [encode([size, index, path])]]]);
  const signature = sign(encode(['Signature1', header, new Uint8Array(0), root]));
  const body = encode([header, new Map<number, Cbor>([[VDP, proofs]]), null, signature]);
  return join([head(6, TAG_SIGN1), body]);
}

function encode(value: Cbor): Uint8Array {
  if (value === null) return Uint8Array.of(0xf6);
  if (typeof value === 'number') return value < 0 ? head(1, -1 - value) : head(0, value);
  if (typeof value === 'string') {
    const bytes = new TextEncoder().encode(value);
    return join([head(3, bytes.length), bytes]);
  }
  if (value instanceof Uint8Array) return join([head(2, value.length), value]);
  if (isMap(value)) {
    // All our maps list their keys in the order of their encodings.
    const members = [...value].flatMap(([key, item]) => [encode(key), encode(item)]);
    return join([head(5, value.size), ...members]);
  }
  return join([head(4, value.length), ...value.map(encode)]);
}

const isMap = (value: Cbor): value is ReadonlyMap<number, Cbor> => value instanceof Map;

function head(major: number, argument: number): Uint8Array {
  const type = major << 5;
  if (argument < 24) return Uint8Array.of(type | argument);
  const bytes = argument < 0x100 ? 1 : argument < 0x10000 ? 2 : argument < 0x100000000 ? 4 : 8;
  const out = new Uint8Array(1 + bytes);
  out[0] = type | (24 + Math.log2(bytes));
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(argument));
  out.set(new Uint8Array(view.buffer, 8 - bytes), 1);
  return out;
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
