// Who signed a checkpoint, for whoever trusts this policy or key: the gateway, the authorities, and what their times say.
import type { Checkpoint } from '../format/checkpoint.ts';
import { checkSignatures, keyIdHex, type SignedNote, type VerifierKey } from '../format/note.ts';
import { meetsQuorum, type Policy, quorumAuthorities } from '../format/policy.ts';
import { broken, holds, type Outcome, undecided } from './outcome.ts';
import type { VerifyTimes, VerifyTrust } from './report.ts';

export interface TrustedInput {
  readonly policy: Policy | null;
  readonly gatewayKey: VerifierKey | null;
}

export interface GatewayKeys {
  readonly trust: VerifyTrust;
  readonly keys: readonly VerifierKey[];
  /** Why there is no key, where there is none. */
  readonly missing: Outcome | null;
}

/** The policy's key for this origin; else, where the policy names no gateway, the key that was given. */
export function gatewayKeys({ policy, gatewayKey }: TrustedInput, head: Checkpoint | undefined): GatewayKeys {
  const origin = head?.origin;
  if (policy && policy.logs.length > 0) {
    const logs = policy.logs.filter(({ key }) => key.name === origin);
    const keys = logs.filter((log) => !(head!.size > (log.notAfter ?? Infinity))).map(({ key }) => key);
    const missing =
      keys.length > 0
        ? null
        : broken(
            logs.length > 0
              ? `the key of ${origin} was given up before ${head!.size} blocks`
              : `the policy knows no gateway named ${origin}`,
          );
    return { trust: 'policy', keys, missing };
  }
  if (gatewayKey) {
    const named = gatewayKey.name === origin;
    const missing = named
      ? null
      : broken(`the checkpoint is of ${origin}, the gateway key given of ${gatewayKey.name}`);
    return { trust: 'gateway-key', keys: [gatewayKey], missing };
  }
  const why = policy
    ? 'the policy names no gateway and no gateway key was given'
    : 'no policy or gateway key given';
  return { trust: 'none', keys: [], missing: undecided(`not checked: ${why}`) };
}

export function gatewayStep(gateway: GatewayKeys, { note }: { readonly note: SignedNote }): Outcome {
  if (gateway.missing) return gateway.missing;
  const checked = checkSignatures(note, gateway.keys);
  const names = gateway.keys.map((key) => `${key.name}+${keyIdHex(key.keyId)}`).join(' or ');
  if (checked.length === 0) return broken(`the checkpoint is not signed by ${names}`);
  const bad = checked.find((signature) => !signature.ok);
  if (bad)
    return broken(`the signature of ${bad.key.name}+${keyIdHex(bad.key.keyId)} does not fit the checkpoint`);
  return holds(`signed by ${names}, key from the ${gateway.trust === 'policy' ? 'policy' : 'caller'}`);
}

export interface Cosigned {
  /** Policy name of the authority. */
  readonly name: string;
  readonly ok: boolean;
  readonly timeMs: number;
}

/** Signatures by authorities that the quorum counts. */
export function cosignatures(policy: Policy | null, note: SignedNote | undefined): Cosigned[] {
  if (!policy || !note) return [];
  const counted = quorumAuthorities(policy);
  const authorities = policy.authorities.filter((authority) => counted.has(authority.name));
  const keys = authorities.map((authority) => authority.key);
  return checkSignatures(note, keys).map(({ key, ok, cosignature }) => ({
    name: authorities.find((authority) => authority.key === key)!.name,
    ok,
    timeMs: (cosignature?.timeSeconds ?? 0) * 1000,
  }));
}

export function cosignatureStep(policy: Policy | null, cosigned: readonly Cosigned[]): Outcome {
  if (!policy) return undecided('not checked: no policy given');
  if (!policy.figures) return undecided('none asked: the policy has no quorum');
  const bad = cosigned.find((cosignature) => !cosignature.ok);
  if (bad) return broken(`the cosignature of ${bad.name} does not fit the checkpoint`);
  const names = new Set(cosigned.map((cosignature) => cosignature.name));
  const listed = names.size > 0 ? ` (${[...names].join(', ')})` : '';
  const count = `${names.size} of ${policy.figures.authorities} authorities cosigned${listed}`;
  return meetsQuorum(policy, names)
    ? holds(`${count}: quorum ${policy.quorum} met`)
    : undecided(`${count}: quorum ${policy.quorum} not met yet`);
}

/** `policy` null where nothing may be concluded from the cosignatures. */
export function timesOf(
  sealedMs: number | null,
  policy: Policy | null,
  cosigned: readonly Cosigned[],
): VerifyTimes {
  const good = policy?.figures ? cosigned.filter((cosignature) => cosignature.ok) : [];
  // One time per authority, its earliest. With at most f liars, one of the f + 1 earliest is honest, so the last
  // of those bounds the age. Time 0 makes no statement.
  const earliest = new Map<string, number>();
  for (const { name, timeMs } of good) {
    if (timeMs > 0) earliest.set(name, Math.min(timeMs, earliest.get(name) ?? timeMs));
  }
  const sorted = [...earliest.values()].sort((a, b) => a - b);
  return {
    sealedMs,
    existedByMs: sorted[policy?.figures?.mayLie ?? 0] ?? null,
    cosigned: good.map(({ name, timeMs }) => ({ name, timeMs })),
  };
}
