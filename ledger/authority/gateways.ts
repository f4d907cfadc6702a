// The gateways an authority serves, by origin, and which of their keys count for which size. Decides nothing else.
import { checkSignatures, parseVerifierKey, type SignedNote, type VerifierKey } from '../format/note.ts';
import { nodeEd25519 } from '../keys/ed25519.ts';
import type { AuthorityConfig } from './config.ts';

export interface ServedGateway {
  readonly origin: string;
  readonly keys: readonly VerifierKey[];
  /** Largest size a revoked key may sign, by key id. */
  readonly notAfter: ReadonlyMap<number, number>;
  readonly mirror: string | null;
}

export function servedGateways(config: AuthorityConfig): ReadonlyMap<string, ServedGateway> {
  return new Map(
    config.gateways.map(({ keys, revoked, mirror }) => {
      const revokedKeys = revoked.map(({ key, notAfter }) => ({ key: parseVerifierKey(key), notAfter }));
      const known = new Map(
        [...keys.map(parseVerifierKey), ...revokedKeys.map(({ key }) => key)].map((key) => [key.keyId, key]),
      );
      const origin = [...known.values()][0]!.name;
      return [
        origin,
        {
          origin,
          keys: [...known.values()],
          notAfter: new Map(revokedKeys.map(({ key, notAfter }) => [key.keyId, notAfter])),
          mirror: mirror ?? null,
        },
      ];
    }),
  );
}

export type SignerVerdict =
  | { readonly kind: 'signed'; readonly key: VerifierKey }
  | { readonly kind: 'unsigned' | 'forged' | 'revoked' };

/** Whether a key that counts for this size signed the note. A known key with a wrong signature spoils the whole note. */
export function signerOf(gateway: ServedGateway, note: SignedNote, size: number): SignerVerdict {
  const checked = checkSignatures(note, gateway.keys, nodeEd25519);
  if (checked.some(({ ok }) => !ok)) return { kind: 'forged' };
  const counting = checked.find(
    ({ key }) => size <= (gateway.notAfter.get(key.keyId) ?? Number.POSITIVE_INFINITY),
  );
  if (counting) return { kind: 'signed', key: counting.key };
  return { kind: checked.length > 0 ? 'revoked' : 'unsigned' };
}
