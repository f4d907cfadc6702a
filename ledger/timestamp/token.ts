// RFC 3161: the request for a timestamp of a checkpoint, and what an answer proves. Trusts the certificates it is given;
// fetches nothing.
import { createHash, hash, type KeyObject, verify as verifySignature, X509Certificate } from 'node:crypto';
import {
  children,
  contentOf,
  type Der,
  DerError,
  integer,
  oid,
  oidText,
  read,
  TAG,
  timeMs,
  write,
} from './der.ts';

const OID = {
  sha256: '2.16.840.1.101.3.4.2.1',
  signedData: '1.2.840.113549.1.7.2',
  tstInfo: '1.2.840.113549.1.9.16.1.4',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingCertificate: '1.2.840.113549.1.9.16.2.12',
  signingCertificateV2: '1.2.840.113549.1.9.16.2.47',
  timeStamping: '1.3.6.1.5.5.7.3.8',
} as const;

const DIGESTS: Readonly<Record<string, string>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};
/** Signature algorithms that name their digest themselves; the others take the signer's digest algorithm. */
const SIGNATURES: Readonly<Record<string, string | null>> = {
  '1.2.840.113549.1.1.1': null,
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
};
const CHAIN_MAX = 6;
export const MAX_TOKEN_BYTES = 64 * 1024;

export class TimestampError extends Error {
  override name = 'TimestampError';
}

/** What is stamped: SHA-256 of the checkpoint's text, as it is signed. */
export const imprintOf = (checkpointText: string): Buffer =>
  hash('sha256', Buffer.from(checkpointText), 'buffer');

/** TimeStampReq (§2.4.1): version 1, SHA-256 imprint, nonce, and the wish for the certificate. */
export function timestampRequest(imprint: Uint8Array, nonce: Uint8Array): Buffer {
  const algorithm = write(TAG.sequence, oid(OID.sha256), write(TAG.null));
  return write(
    TAG.sequence,
    integer(1),
    write(TAG.sequence, algorithm, write(TAG.bytes, imprint)),
    integer(nonce),
    write(TAG.boolean, Buffer.from([0xff])),
  );
}

export interface Timestamp {
  /** When the authority says it saw the imprint, unix ms. */
  readonly timeMs: number;
  /** Subject of the certificate that signed. */
  readonly authority: string;
  readonly serial: string;
  readonly policy: string;
  /** Whether the certificate leads to one of those that were given to trust. */
  readonly trusted: boolean;
}

export interface VerifyTimestampOptions {
  readonly imprint: Uint8Array;
  /** The one of the request, where the answer is to be that request's. */
  readonly nonce?: Uint8Array;
  /** PEM text of certificates to trust; without any, only the signature itself is checked. */
  readonly trusted?: string | undefined;
}

/** Verifies a TimeStampResp. Throws TimestampError, which says why it proves nothing. */
export function verifyTimestamp(response: Uint8Array, options: VerifyTimestampOptions): Timestamp {
  try {
    return verified(Buffer.from(response), options);
  } catch (error) {
    if (error instanceof TimestampError) throw error;
    if (error instanceof DerError) throw new TimestampError(`the timestamp cannot be read: ${error.message}`);
    throw new TimestampError(`the timestamp cannot be checked: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function verified(response: Buffer, { imprint, nonce, trusted }: VerifyTimestampOptions): Timestamp {
  if (response.length > MAX_TOKEN_BYTES) throw new TimestampError('the timestamp is too long');
  const [status, token] = children(read(response, TAG.sequence), TAG.sequence);
  const [code] = children(status, TAG.sequence);
  const granted = contentOf(code, TAG.integer).readIntBE(0, 1);
  if (granted > 1 || !token)
    throw new TimestampError(`the authority refused the request (status ${granted})`);
  const { info, signer, certificates, signerInfo } = signedData(token);
  const fields = children(read(info, TAG.sequence), TAG.sequence);
  const [, policy, messageImprint, serial, time, ...rest] = fields;
  const [algorithm, hashed] = children(messageImprint, TAG.sequence);
  if (
    oidText(children(algorithm, TAG.sequence)[0]) !== OID.sha256 ||
    !contentOf(hashed, TAG.bytes).equals(imprint)
  )
    throw new TimestampError('it is the timestamp of something else');
  const answered = rest.find(({ tag }) => tag === TAG.integer);
  if (nonce && !(answered && read(integer(nonce), TAG.integer).content.equals(answered.content)))
    throw new TimestampError('it does not answer this request');
  const atMs = timeMs(time);
  checkSigner(signerInfo, signer, info);
  if (!(signer.keyUsage ?? []).includes(OID.timeStamping))
    throw new TimestampError(`the certificate of ${subjectOf(signer)} is not one for timestamps`);
  const isTrusted = trusted !== undefined && leadsTo(signer, certificates, certificatesIn(trusted), atMs);
  if (trusted !== undefined && !isTrusted)
    throw new TimestampError(`the certificate of ${subjectOf(signer)} does not lead to one that is trusted`);
  return {
    timeMs: atMs,
    authority: subjectOf(signer),
    serial: contentOf(serial, TAG.integer).toString('hex'),
    policy: oidText(policy),
    trusted: isTrusted,
  };
}

interface SignedToken {
  /** DER of the TSTInfo. */
  readonly info: Buffer;
  readonly signer: X509Certificate;
  readonly certificates: readonly X509Certificate[];
  readonly signerInfo: readonly Der[];
}

/** CMS SignedData (RFC 5652 §5.1) with one signer, whose certificate it carries. */
function signedData(token: Der): SignedToken {
  const [type, wrapped] = children(token, TAG.sequence);
  if (oidText(type) !== OID.signedData) throw new TimestampError('the token is not signed data');
  const [data] = children(wrapped, TAG.context);
  const [, , encapsulated, ...rest] = children(data, TAG.sequence);
  const [contentType, content] = children(encapsulated, TAG.sequence);
  if (oidText(contentType) !== OID.tstInfo) throw new TimestampError('the token is not a timestamp');
  const info = contentOf(children(content, TAG.context)[0], TAG.bytes);
  const carried = rest.find(({ tag }) => tag === TAG.context);
  const certificates = (carried ? children(carried, TAG.context) : []).map(
    ({ bytes }) => new X509Certificate(bytes),
  );
  const signers = children(rest.at(-1), TAG.set);
  if (signers.length !== 1) throw new TimestampError('the token has not exactly one signer');
  const signerInfo = children(signers[0], TAG.sequence);
  const named = signingCertificate(attributesOf(signerInfo));
  const signer = certificates.find(({ raw }) => named(raw));
  if (!signer) throw new TimestampError('the token does not carry the certificate of its signer');
  return { info, signer, certificates, signerInfo };
}

/** Signed attributes by their type. */
function attributesOf(signerInfo: readonly Der[]): Map<string, Der> {
  const signed = signerInfo.find(({ tag }) => tag === TAG.context);
  const attributes = new Map<string, Der>();
  for (const attribute of children(signed, TAG.context)) {
    const [type, values] = children(attribute, TAG.sequence);
    const [value] = children(values, TAG.set);
    if (value) attributes.set(oidText(type), value);
  }
  return attributes;
}

/** ESSCertID and ESSCertIDv2 (RFC 5816): which certificate has signed, by its hash, under the signature. */
function signingCertificate(attributes: Map<string, Der>): (certificate: Buffer) => boolean {
  const second = attributes.get(OID.signingCertificateV2);
  const value = second ?? attributes.get(OID.signingCertificate);
  const [list] = children(value, TAG.sequence);
  const [first] = children(list, TAG.sequence);
  const parts = children(first, TAG.sequence);
  const algorithm =
    parts[0]?.tag === TAG.sequence ? oidText(children(parts[0], TAG.sequence)[0]) : OID.sha256;
  const name = second ? DIGESTS[algorithm] : 'sha1';
  if (name === undefined) throw new TimestampError('the signer is named by an unknown hash');
  const expected = contentOf(
    parts.find(({ tag }) => tag === TAG.bytes),
    TAG.bytes,
  );
  return (certificate) => hash(name, certificate, 'buffer').equals(expected);
}

function checkSigner(signerInfo: readonly Der[], signer: X509Certificate, info: Buffer): void {
  const at = signerInfo.findIndex(({ tag }) => tag === TAG.context);
  const signed = signerInfo[at]!;
  const digest = DIGESTS[oidText(children(signerInfo[at - 1], TAG.sequence)[0])];
  const algorithm = oidText(children(signerInfo[at + 1], TAG.sequence)[0]);
  const own = SIGNATURES[algorithm];
  if (digest === undefined || own === undefined)
    throw new TimestampError(`the signature is of a kind that is not checked here (${algorithm})`);
  const attributes = attributesOf(signerInfo);
  const type = attributes.get(OID.contentType);
  const content = createHash(digest).update(info).digest();
  if (
    oidText(type) !== OID.tstInfo ||
    !contentOf(attributes.get(OID.messageDigest), TAG.bytes).equals(content)
  )
    throw new TimestampError('the signature is over something else');
  // Signed is the set itself, not its place in the structure (RFC 5652 §5.4).
  const set = Buffer.from(signed.bytes);
  set[0] = TAG.set;
  const key: KeyObject = signer.publicKey;
  if (!verifySignature(own ?? digest, set, key, contentOf(signerInfo[at + 2], TAG.bytes)))
    throw new TimestampError(`the signature of ${subjectOf(signer)} is wrong`);
}

/** Whether a certificate leads, through those that were sent along, to a trusted one; all valid at the time. */
function leadsTo(
  signer: X509Certificate,
  sent: readonly X509Certificate[],
  trusted: readonly X509Certificate[],
  atMs: number,
): boolean {
  let at = signer;
  for (let depth = 0; depth < CHAIN_MAX; depth += 1) {
    if (!isValidAt(at, atMs)) return false;
    if (trusted.some(({ fingerprint256 }) => fingerprint256 === at.fingerprint256)) return true;
    const issuer = [...trusted, ...sent].find(
      (one) =>
        one.ca && at.checkIssued(one) && at.verify(one.publicKey) && one.fingerprint256 !== at.fingerprint256,
    );
    if (!issuer) return false;
    at = issuer;
  }
  return false;
}

const isValidAt = ({ validFrom, validTo }: X509Certificate, atMs: number): boolean =>
  Date.parse(validFrom) <= atMs && atMs <= Date.parse(validTo);

/** Certificates of a PEM text. Throws TimestampError where there is none. */
export function certificatesIn(pem: string): X509Certificate[] {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) throw new TimestampError('there is no certificate to trust in the file given');
  return found.map((text) => new X509Certificate(text));
}

const subjectOf = ({ subject }: X509Certificate): string => subject.replaceAll('\n', ', ');
