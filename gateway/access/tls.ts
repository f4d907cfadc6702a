// Owns the TLS files of a listener: reads and checks certificate, key and CA, hands them to servers, and puts new ones
// in place without closing a connection. Refuses a pair that does not fit together; the old one then stays.
//
//   const material = TlsMaterial.load(config.tls, 'mqtt.tls');      // TlsError: says which file and why
//   const server = tls.createServer(material.serverOptions, onSocket);  // or https.createServer
//   material.follow(server);                                        // takes part in reloads from now on
//   const certificate = clientCertificateOf(socket);                // for Credentials.certificate
//
//   const next = material.read(config.tls);                         // checked, nothing changed yet; TlsError
//   material.use(next);                                             // new connections get it, open ones stay
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions, type TLSSocket, type TlsOptions } from 'node:tls';
import { z } from 'zod';
import { CodedError } from '../../ledger/format/errors.ts';
import type { ClientCertificate } from './types.ts';

const MAX_FILE_BYTES = 1024 * 1024;
const DAY_MS = 86_400_000;

/** The keys of a `tls` section; a listener may put `enabled`, `port` … beside them. Paths are relative to the file. */
export const TLS_FIELDS = {
  cert: z.string().min(1).describe('PEM file: the server’s certificate, then the chain above it.'),
  key: z.string().min(1).describe('PEM file: the private key of the certificate, not encrypted.'),
  ca: z
    .string()
    .min(1)
    .optional()
    .describe('PEM file: the authorities whose client certificates are accepted.'),
  clientCertificates: z
    .enum(['none', 'request', 'require'])
    .default('none')
    .describe(
      'Whether clients are asked for a certificate. request: one that is not shown, or not by `ca`, counts as none; require: the connection is refused then.',
    ),
  minVersion: z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.2').describe('Oldest TLS version accepted.'),
} as const;

export const tlsConfigSchema = z
  .strictObject(TLS_FIELDS)
  .refine(({ ca, clientCertificates }) => clientCertificates === 'none' || ca !== undefined, {
    path: ['ca'],
    error: 'must name the authorities of the client certificates that are asked for',
  });

export type TlsConfig = Pick<
  z.infer<typeof tlsConfigSchema>,
  'cert' | 'key' | 'ca' | 'clientCertificates' | 'minVersion'
>;

export type TlsErrorCode =
  | 'TLS_FILE_UNREADABLE'
  | 'TLS_CERTIFICATE_INVALID'
  | 'TLS_KEY_INVALID'
  | 'TLS_PAIR_MISMATCH';

export class TlsError extends CodedError<TlsErrorCode> {
  override name = 'TlsError';
}

/** Files read and found to fit together. */
export interface TlsFiles {
  readonly context: SecureContextOptions;
  /** SHA-256 of the certificate, lower-case hex. */
  readonly fingerprint: string;
  readonly subject: string;
  /** Unix ms. */
  readonly validFromMs: number;
  readonly validToMs: number;
}

interface Following {
  setSecureContext(options: SecureContextOptions): void;
}

export class TlsMaterial {
  readonly #where: string;
  readonly #servers = new Set<Following>();
  #config: TlsConfig;
  #files: TlsFiles;

  private constructor(config: TlsConfig, where: string, files: TlsFiles) {
    this.#config = config;
    this.#where = where;
    this.#files = files;
  }

  /**
   * `where` names the section for messages, e.g. `http.tls`.
   * @throws TlsError
   */
  static load(config: TlsConfig, where: string): TlsMaterial {
    return new TlsMaterial(config, where, readFiles(config, where));
  }

  get files(): TlsFiles {
    return this.#files;
  }

  /** For createServer. Client certificates are checked by the server; ask `clientCertificateOf` for the result. */
  get serverOptions(): TlsOptions {
    const { clientCertificates } = this.#config;
    return {
      ...this.#files.context,
      requestCert: clientCertificates !== 'none',
      rejectUnauthorized: clientCertificates === 'require',
    };
  }

  /** New material goes to `server` as well, until what is returned is called. */
  follow(server: Following): () => void {
    this.#servers.add(server);
    return () => this.#servers.delete(server);
  }

  /**
   * Reads the files again (or other ones) without using them yet.
   * @throws TlsError
   */
  read(config: TlsConfig = this.#config): TlsFiles {
    return readFiles(config, this.#where);
  }

  /** For connections from now on. What a server was told about client certificates at its start stays. */
  use(files: TlsFiles, config: TlsConfig = this.#config): void {
    for (const server of this.#servers) server.setSecureContext(files.context);
    this.#files = files;
    this.#config = config;
  }
}

function readFiles(config: TlsConfig, where: string): TlsFiles {
  const cert = read(config.cert, `${where}.cert`);
  const key = read(config.key, `${where}.key`);
  const ca = config.ca === undefined ? undefined : read(config.ca, `${where}.ca`);
  const leaf = certificateIn(cert, `${where}.cert`, config.cert);
  if (ca !== undefined) certificateIn(ca, `${where}.ca`, config.ca!);
  const context: SecureContextOptions = {
    cert,
    key,
    ...(ca === undefined ? {} : { ca }),
    minVersion: config.minVersion,
  };
  try {
    createSecureContext(context);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH')
      throw new TlsError(
        'TLS_PAIR_MISMATCH',
        `${where}: the key ${config.key} is not the one of the certificate ${config.cert}`,
        { hint: 'renewing writes both files: put both in place before reloading', cause: error },
      );
    throw new TlsError('TLS_KEY_INVALID', `${where}.key: ${config.key} is not a usable PEM private key`, {
      hint: 'it must be in PEM form and without a passphrase: `openssl pkey -in KEY -check`',
      cause: error,
    });
  }
  return {
    context,
    fingerprint: fingerprintOf(leaf.fingerprint256),
    subject: leaf.subject?.replaceAll('\n', ', ') ?? '',
    validFromMs: Date.parse(leaf.validFrom),
    validToMs: Date.parse(leaf.validTo),
  };
}

function read(file: string, field: string): string {
  try {
    const bytes = readFileSync(file);
    if (bytes.length > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES} bytes`);
    return bytes.toString('latin1');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new TlsError(
      'TLS_FILE_UNREADABLE',
      code === 'ENOENT'
        ? `${field}: there is no file ${file}`
        : `${field}: ${file} can't be read: ${message}`,
      { cause: error },
    );
  }
}

function certificateIn(pem: string, field: string, file: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw new TlsError('TLS_CERTIFICATE_INVALID', `${field}: ${file} holds no PEM certificate`, {
      hint: 'look at it with `openssl x509 -in FILE -noout -text`',
      cause: error,
    });
  }
}

/** Why a certificate needs someone’s attention, or null. */
export function tlsWarning({ validFromMs, validToMs }: TlsFiles, nowMs: number): string | null {
  if (validToMs <= nowMs) return 'the TLS certificate has expired: clients will refuse it';
  if (validFromMs > nowMs) return 'the TLS certificate is not valid yet: look at the clock of this machine';
  const days = Math.floor((validToMs - nowMs) / DAY_MS);
  return days < 14 ? `the TLS certificate expires in ${days} days` : null;
}

/** Of connections that ask more than once, e.g. one HTTP request after another. */
const shown = new WeakMap<TLSSocket, ClientCertificate>();

/** What the client has shown and `ca` vouches for; undefined where it has shown nothing that counts. */
export function clientCertificateOf(socket: TLSSocket): ClientCertificate | undefined {
  if (!socket.authorized) return undefined;
  const known = shown.get(socket);
  if (known) return known;
  // Not getPeerX509Certificate(): asked a second time, it answers undefined (Node 24).
  const certificate = socket.getPeerCertificate();
  if (certificate.fingerprint256 === undefined) return undefined;
  const read = {
    commonName: commonNameIn(certificate.subject?.CN),
    altNames: altNamesIn(certificate.subjectaltname),
    fingerprint: fingerprintOf(certificate.fingerprint256),
  };
  shown.set(socket, read);
  return read;
}

/** Several common names are ambiguous, so they count as none. */
const commonNameIn = (name: unknown): string | null => (typeof name === 'string' ? name : null);

/** `DNS:a, URI:b, IP Address:c`; a quoted entry holds what could be mistaken for another, and is left out. */
const altNamesIn = (text: string | undefined): string[] =>
  (text ?? '')
    .split(', ')
    .map((entry) => /^(?:DNS|URI):([^"]+)$/.exec(entry)?.[1])
    .filter((name) => name !== undefined);

const fingerprintOf = (text: string) => text.replaceAll(':', '').toLowerCase();
