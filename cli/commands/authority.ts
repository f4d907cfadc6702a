// `tidemark authority`: a cosigner for other people's gateways, until it is told to stop.
import pino from 'pino';
import { type TlsConfig, TlsError, TlsMaterial } from '../../gateway/access/tls.ts';
import type { AuthorityConfig } from '../../ledger/authority/config.ts';
import { type RunningAuthority, startAuthority } from '../../ledger/authority/server.ts';
import { KeyError } from '../../ledger/keys/file.ts';
import type { Invocation } from '../command.ts';
import { loadAuthorityConfig } from '../config/authority.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { watchCertificates } from '../gateway/certificates.ts';
import { Signals } from '../signals.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const signals = new Signals();
  const file = invocation.text('config') ?? 'authority.yaml';
  const config = loadAuthorityConfig(file);
  const logger = pino(
    { level: 'info', base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
  const tls = config.tls ? usableTls(() => TlsMaterial.load(tlsOf(config.tls!), 'tls')) : null;
  const authority = await startAuthority(config, logger, { tls }).catch((error: unknown) => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof KeyError) throw new CommandError(EXIT.unable, error.message, { hint: error.hint });
    if (code === 'EADDRINUSE' || code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOENT')
      throw new CommandError(EXIT.unable, `the authority can't start: ${message}`, {
        hint: 'see host and port in its configuration',
      });
    throw error;
  });
  const { verifierKey, url } = authority;
  logger.info(
    { name: config.name, verifierKey, url, gateways: config.gateways.length },
    'the authority is ready',
  );
  const stopWatching = watchCertificates(() => ({ tls }), logger);
  signals.onReload(() => reload({ authority, tls }, file, logger));
  const signal = await signals.stop;
  logger.info({ signal }, 'stopping');
  stopWatching();
  await authority.close();
  return EXIT.ok;
}

interface Running {
  readonly authority: RunningAuthority;
  readonly tls: TlsMaterial | null;
}

/** A file that cannot be used changes nothing. The certificate is read on every reload: a renewed one has the old name. */
function reload({ authority, tls }: Running, file: string, logger: pino.Logger): void {
  try {
    const config = loadAuthorityConfig(file);
    const wanted = tls && config.tls ? tlsOf(config.tls) : null;
    const files = wanted && usableTls(() => tls!.read(wanted));
    const restart = authority.reload(config);
    if (files) tls!.use(files, wanted);
    logger.info(
      {
        gateways: config.gateways.length,
        restart,
        ...(files && { certificate: files.fingerprint.slice(0, 16) }),
      },
      'the configuration is in force',
    );
    if (restart.length > 0) logger.warn({ restart }, 'these settings wait for a restart');
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    logger.error({ err: error.message }, 'the configuration cannot be used: nothing has changed');
  }
}

/** Whoever may submit is known by its signature: nobody is asked for a certificate. */
const tlsOf = (files: NonNullable<AuthorityConfig['tls']>): TlsConfig => ({
  ...files,
  clientCertificates: 'none',
  minVersion: 'TLSv1.2',
});

function usableTls<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof TlsError)) throw error;
    throw new CommandError(EXIT.unable, error.message, { hint: error.hint, cause: error });
  }
}
