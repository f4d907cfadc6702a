// Says in the log that a certificate of this process expires or has expired: at the start, and again each day. Renews nothing.
import type { Logger } from 'pino';
import { type TlsMaterial, tlsWarning } from '../../gateway/access/tls.ts';

const EVERY_MS = 24 * 3_600_000;

/** Looks until what is returned is called. `tls`: what is in use at that time, by the name of its setting. */
export function watchCertificates(
  tls: () => Readonly<Record<string, TlsMaterial | null>>,
  logger: Pick<Logger, 'warn'>,
): () => void {
  const look = () => {
    for (const [setting, material] of Object.entries(tls())) {
      const warning = material && tlsWarning(material.files, Date.now());
      if (warning) logger.warn({ setting, subject: material.files.subject }, warning);
    }
  };
  look();
  const timer = setInterval(look, EVERY_MS).unref();
  return () => clearInterval(timer);
}
