// Authorities for tests of policies: keys by name, the lines they have in a policy and under a text.
import { cosignatureMessage, formatCosignature } from '../../ledger/format/cosignature.ts';
import {
  formatSignatureLine,
  formatVerifierKey,
  SIGNATURE_TYPE,
  type VerifierKey,
  verifierKey,
} from '../../ledger/format/note.ts';
import { type TestKey, testKey } from './format/native.ts';

const SECONDS = 1_763_600_000;

export interface Authority {
  readonly name: string;
  readonly key: TestKey;
  readonly verifier: VerifierKey;
}

/** The same key for the same name. `as`: its name as a verifier. */
export function authority(name: string, as = `${name}.example.com`): Authority {
  const key = testKey(`authority ${name}`);
  return { name, key, verifier: verifierKey(as, key.publicKey, SIGNATURE_TYPE.cosignature) };
}

export type Five = [Authority, Authority, Authority, Authority, Authority];

/** A policy in which `k` of these make a quorum. */
export function quorumOf(members: readonly Authority[], k: number): string {
  const witnesses = members.map(({ name, verifier }) => `witness ${name} ${formatVerifierKey(verifier)}\n`);
  return `${witnesses.join('')}group g ${k} ${members.map(({ name }) => name).join(' ')}\nquorum g\n`;
}

/** A gateway's signature line under a text. */
export function gatewayLine(origin: string, text: string, key: TestKey): string {
  const { name, keyId } = verifierKey(origin, key.publicKey);
  return formatSignatureLine({ name, keyId, signature: key.sign(new TextEncoder().encode(text)) });
}

/** An authority's cosignature line under a text. */
export function cosignLine(text: string, { key, verifier: { name, keyId } }: Authority): string {
  const signature = key.sign(cosignatureMessage(text, SECONDS));
  return formatSignatureLine({
    name,
    keyId,
    signature: formatCosignature({ timeSeconds: SECONDS, signature }),
  });
}
