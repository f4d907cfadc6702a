// Who comes without a name: programs on this machine may send, hear, read and prove; administer nothing. All others: nothing.
import { isIPv4 } from 'node:net';
import type { Access, AccessVerdict, Principal } from './types.ts';

export const ANONYMOUS: Principal = {
  name: '',
  role: 'operator',
  anonymous: true,
  device: null,
  expiresMs: null,
  mayPublish: () => true,
  maySubscribe: () => true,
  may: (right) => right !== 'administer',
};

const LOOPBACK_ONLY: AccessVerdict = {
  principal: null,
  code: 'loopback-only',
  detail:
    'Anonymous access is accepted from the gateway’s own machine only. From elsewhere, use a tunnel: ssh -L 8080:127.0.0.1:8080 <gateway>.',
};

export function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return false;
  const plain = address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
  return plain === '::1' || (isIPv4(plain) && plain.startsWith('127.'));
}

export const anonymousAccess: Access = {
  authenticate: ({ address }) => (isLoopback(address) ? { principal: ANONYMOUS } : LOOPBACK_ONLY),
  onChange: () => () => {},
};
