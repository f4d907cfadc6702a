// Whose signatures stand on a checkpoint, and what that is worth to someone who holds these keys. Verifies; trusts no key
// that it was not given, except where it says so.
import type { Checkpoint } from '../format/checkpoint.ts';
import type { ChainEpochs } from '../format/epochs.ts';
import { equalBytes } from '../format/hash.ts';
import { checkSignatures, type VerifierKey } from '../format/note.ts';
import { meetsQuorum, type Policy, quorumAuthorities } from '../format/policy.ts';
import { CHECKPOINT_PATH } from '../format/tile.ts';
import type { SignedHead } from './chainwalk.ts';
import type { Findings } from './findings.ts';

/** Where the key came from that the checkpoint was checked with. */
export type AuditTrust = 'policy' | 'gateway-key' | 'genesis';

export interface SignatureJudgement {
  readonly trust: AuditTrust;
  /** final: quorum met. unsigned: the gateway's signature is missing or wrong, so nothing else counts for much. */
  readonly status: 'final' | 'pending' | 'signed-by-gateway-only' | 'unsigned';
  readonly cosigned: readonly string[];
}

/** Checks the gateway's signature and the cosignatures of a checkpoint; what is wrong becomes a finding. */
export function judgeSignatures(
  head: SignedHead,
  epochs: ChainEpochs | null,
  policy: Policy | null,
  given: VerifierKey | null,
  findings: Findings,
  prefix: string,
): SignatureJudgement {
  const { origin, size } = head.checkpoint;
  const { trust, keys } = gatewayKeys(head.checkpoint, epochs, policy, given);
  const unsigned = (why: string): SignatureJudgement => {
    findings.add('error', 'CHECKPOINT_UNSIGNED', { file: prefix + CHECKPOINT_PATH }, why);
    return { trust, status: 'unsigned', cosigned: [] };
  };
  if (keys.length === 0)
    return unsigned(
      `no key for ${origin}: ${trust === 'policy' ? 'the policy does not name it' : 'its genesis block names none'}`,
    );
  const checked = checkSignatures(head.note, keys);
  const givenUp = epochs?.keys.find(
    ({ key, notAfter }) => notAfter < size && checkSignatures(head.note, [key]).some(({ ok }) => ok),
  );
  if (checked.length === 0 && givenUp)
    return unsigned(
      `the checkpoint of ${size} blocks is signed with a key that was given up at ${givenUp.notAfter} blocks`,
    );
  if (checked.length === 0)
    return unsigned(
      `the checkpoint of ${origin} is not signed by the ${trust === 'genesis' ? 'key its genesis block names' : 'trusted key'}`,
    );
  if (checked.some((signature) => !signature.ok))
    return unsigned(`the signature of ${origin} does not fit the checkpoint`);
  const inForce = policyFor(size, epochs, policy);
  if (!inForce || inForce.quorum === null) return { trust, status: 'signed-by-gateway-only', cosigned: [] };
  const cosigned = goodCosigners(head, inForce, findings, prefix);
  return { trust, status: meetsQuorum(inForce, new Set(cosigned)) ? 'final' : 'pending', cosigned };
}

/** The keys that may have signed a checkpoint of this origin and size, for who trusts these. */
export function gatewayKeys(
  { origin, size }: Checkpoint,
  epochs: ChainEpochs | null,
  policy: Policy | null,
  given: VerifierKey | null,
): { trust: AuditTrust; keys: readonly VerifierKey[] } {
  if (policy && policy.logs.length > 0) {
    const named = policy.logs
      .filter(({ key, notAfter }) => key.name === origin && size <= (notAfter ?? Number.MAX_SAFE_INTEGER))
      .map(({ key }) => key);
    return { trust: 'policy', keys: successors(named, epochs, size) };
  }
  if (given)
    return { trust: 'gateway-key', keys: given.name === origin ? successors([given], epochs, size) : [] };
  return { trust: 'genesis', keys: epochs?.keysAt(size) ?? [] };
}

/** Who trusts one key of the chain trusts those it handed over to, each change signed by both, and no longer itself. */
function successors(
  trusted: readonly VerifierKey[],
  epochs: ChainEpochs | null,
  size: number,
): readonly VerifierKey[] {
  const isKnown = epochs?.keys.some(({ key }) =>
    trusted.some((one) => equalBytes(one.publicKey, key.publicKey)),
  );
  return isKnown ? epochs!.keysAt(size) : trusted;
}

/** Who trusts one policy of the chain trusts those its quorum put in its place; any other policy stands for itself. */
export function policyFor(size: number, epochs: ChainEpochs | null, trusted: Policy | null): Policy | null {
  if (!trusted) return null;
  const isOfChain = epochs?.policies.some(({ policy }) => policy && equalBytes(policy.hash, trusted.hash));
  return isOfChain ? epochs!.policyAt(size).policy : trusted;
}

function goodCosigners(head: SignedHead, policy: Policy, findings: Findings, prefix: string): string[] {
  const counted = quorumAuthorities(policy);
  const authorities = policy.authorities.filter(({ name }) => counted.has(name));
  const names = new Set<string>();
  for (const { key, ok } of checkSignatures(
    head.note,
    authorities.map((authority) => authority.key),
  )) {
    const { name } = authorities.find((authority) => authority.key === key)!;
    if (ok) names.add(name);
    else
      findings.add(
        'error',
        'CHECKPOINT_UNSIGNED',
        { file: prefix + CHECKPOINT_PATH },
        `the cosignature of ${name} does not fit the checkpoint`,
        { name },
      );
  }
  return [...names];
}

/** What a reader of a verdict must know about its worth. */
export function noticeOf({ trust, status }: SignatureJudgement): string | null {
  if (trust === 'genesis') {
    return 'No policy and no gateway key were given: the key checked is the one this chain names itself. A gateway alone proves little: whoever holds its disk could have written another history.';
  }
  if (status === 'signed-by-gateway-only') {
    return 'Signed by the gateway only. A gateway alone proves little: without authorities it could show different histories to different people.';
  }
  if (status === 'pending') return 'The quorum of authorities has not cosigned this checkpoint yet.';
  return null;
}
