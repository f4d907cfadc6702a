// What an adapter asks before it lets anyone in, and what it learns: who is there, and what that one may do. Knows no
// protocol; holds no credentials.

/** device: sends and, by its patterns, hears. operator: also reads all. auditor: reads and proves. admin: everything. */
export type Role = 'device' | 'operator' | 'auditor' | 'admin';

/** Whose key a TLS client has shown; the chain has been verified. */
export interface ClientCertificate {
  readonly commonName: string | null;
  /** DNS and URI names. */
  readonly altNames: readonly string[];
  /** SHA-256 of the certificate, lower-case hex. */
  readonly fingerprint: string;
}

/** All that a connection or a request shows of who it is; what it does not show is absent. */
export interface Credentials {
  /** Remote IP address. */
  readonly address: string | undefined;
  readonly username?: string;
  readonly password?: Uint8Array;
  /** Bearer token: an access token of ours, or a JWT. */
  readonly token?: string;
  readonly certificate?: ClientCertificate;
}

/** read: records, windows, status, tail. prove: proofs and ledger files. administer: devices, policy, configuration. */
export type Right = 'read' | 'prove' | 'administer';

export interface Principal {
  /** '' when anonymous. */
  readonly name: string;
  readonly role: Role;
  readonly anonymous: boolean;
  /** The device all its records belong to, whatever they name; null: it may speak for any device. */
  readonly device: string | null;
  /** Unix ms from which the credential no longer counts; null: it does not expire. */
  readonly expiresMs: number | null;
  mayPublish(topic: string): boolean;
  maySubscribe(filter: string): boolean;
  may(right: Right): boolean;
}

export type AccessCode =
  /** Nothing was shown, and the caller is on another machine. */
  | 'loopback-only'
  /** Something was shown that is wrong, expired or revoked; which of them is not said. */
  | 'bad-credentials'
  /** Too many wrong ones from there: none is looked at for a while. */
  | 'too-many-attempts';

export type AccessVerdict =
  | { readonly principal: Principal }
  | {
      readonly principal: null;
      readonly code: AccessCode;
      readonly detail: string;
      readonly retryAfterMs?: number;
    };

export interface Access {
  /** Never throws or rejects. Answers at once where nothing slow (scrypt, a fetched key set) is needed. */
  authenticate(credentials: Credentials): AccessVerdict | Promise<AccessVerdict>;
  /**
   * `listener` gets the name of a principal whose rights have changed or ended: connections under that name must be
   * judged again or closed. Returns what ends the listening.
   */
  onChange(listener: (name: string) => void): () => void;
}
