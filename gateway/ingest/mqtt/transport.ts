// What a listener knows of a connection before its first packet.
import type { ClientCertificate } from '../../access/types.ts';

export interface Peer {
  readonly address: string | undefined;
  readonly transport: 'tcp' | 'tls' | 'websocket';
  readonly certificate?: ClientCertificate;
  /** Why it may not stay when it turns out to be anonymous, or null; a page may have sent it here. */
  readonly anonymousProblem?: () => string | null;
}
