// Whose signatures stand on a checkpoint, and what that is worth to someone who holds these keys. Verifies; trusts no key
// that it was not given, except where it says so.
import { fromBase64Sized } from '../format/base64.ts';
import type { Block } from '../format/block.ts';
import { FormatError } from '../format/errors.ts';
import { checkSignatures, type VerifierKey, verifierKey } from '../format/note.ts';
import { meetsQuorum, type Policy, quorumAuthorities } from '../format/policy.ts';
import { CHECKPOINT_PATH } from '../format/tile.ts';
import type { SignedHead } from './chainwalk.ts';
import type { Findings } from './findings.ts';

/** Where the key came from that the checkpoint was checked with. */
export type AuditTrust = 'policy' | 'gateway-key' | 'genesis';

/** The public key that a genesis block names, or null. */
export function genesisKey(genesis: Block | null): Uint8Array | null {
  const text = genesis?.kind === 'genesis' ? genesis.detail?.publicKey : undefined;
  if (typeof text !== 'string') return null;
  try {
    const publicKey = fromBase64Sized(text, 32, 'public key');
    verifierKey('any', publicKey);
    return publicKey;
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

export interface SignatureJudgement {
  readonly trust: AuditTrust;
  /** final: quorum met. unsigned: the gateway's signature is missing or wrong, so nothing else counts for much. */
  readonly status: 'final' | 'pending' | 'signed-by-gateway-only' | 'unsigned';
  readonly cosigned: readonly string[];
}

/** Checks the gateway's signature and the cosignatures of a checkpoint; what is wrong becomes a finding. */
export function judgeSignatures(
  head: SignedHead,
  genesis: Block | null,
  policy: Policy | null,
  given: VerifierKey | null,
  findings: Findings,
  prefix: string,
): SignatureJudgement {
  const { origin } = head.checkpoint;
  const { trust, keys } = gatewayKeys(origin, genesis, policy, given);
  const unsigned = (why: string): SignatureJudgement => {
    findings.add('error', 'CHECKPOINT_UNSIGNED', { file: prefix + CHECKPOINT_PATH }, why);
    return { trust, status: 'unsigned', cosigned: [] };
  };
  if (keys.length === 0)
    return unsigned(
      `no key for ${origin}: ${trust === 'policy' ? 'the policy does not name it' : 'its genesis block names none'}`,
    );
  const checked = checkSignatures(head.note, keys);
  if (checked.length === 0)
    return unsigned(
      `the checkpoint of ${origin} is not signed by the ${trust === 'genesis' ? 'key its genesis block names' : 'trusted key'}`,
    );
  if (checked.some((signature) => !signature.ok))
    return unsigned(`the signature of ${origin} does not fit the checkpoint`);
  if (!policy || policy.quorum === null) return { trust, status: 'signed-by-gateway-only', cosigned: [] };
  const cosigned = goodCosigners(head, policy, findings, prefix);
  return { trust, status: meetsQuorum(policy, new Set(cosigned)) ? 'final' : 'pending', cosigned };
}

function gatewayKeys(
  origin: string,
  genesis: Block | null,
  policy: Policy | null,
  given: VerifierKey | null,
): { trust: AuditTrust; keys: VerifierKey[] } {
  if (policy && policy.logs.length > 0) {
    return { trust: 'policy', keys: policy.logs.map(({ key }) => key).filter((key) => key.name === origin) };
  }
  if (given) return { trust: 'gateway-key', keys: given.name === origin ? [given] : [] };
  const publicKey = genesisKey(genesis);
  return { trust: 'genesis', keys: publicKey ? [verifierKey(origin, publicKey)] : [] };
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
