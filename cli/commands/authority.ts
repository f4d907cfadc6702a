// `tidemark authority`: a cosigner for other people's gateways, until it is told to stop.
import pino from 'pino';
import { type RunningAuthority, startAuthority } from '../../ledger/authority/server.ts';
import { KeyError } from '../../ledger/keys/file.ts';
import type { Invocation } from '../command.ts';
import { loadAuthorityConfig } from '../config/authority.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { Signals } from '../signals.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const signals = new Signals();
  const file = invocation.text('config') ?? 'authority.yaml';
  const config = loadAuthorityConfig(file);
  const logger = pino(
    { level: 'info', base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
  const authority = await startAuthority(config, logger).catch((error: unknown) => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof KeyError) throw new CommandError(EXIT.unable, error.message, { hint: error.hint });
    if (code === 'EADDRINUSE' || code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOENT')
      throw new CommandError(EXIT.unable, `the authority can't start: ${message}`, {
        hint: 'see host, port and tls in its configuration',
      });
    throw error;
  });
  const { verifierKey, url } = authority;
  logger.info(
    { name: config.name, verifierKey, url, gateways: config.gateways.length },
    'the authority is ready',
  );
  signals.onReload(() => reload(authority, file, logger));
  const signal = await signals.stop;
  logger.info({ signal }, 'stopping');
  await authority.close();
  return EXIT.ok;
}

/** A file that cannot be used changes nothing. */
function reload(authority: RunningAuthority, file: string, logger: pino.Logger): void {
  try {
    const config = loadAuthorityConfig(file);
    const restart = authority.reload(config);
    logger.info({ gateways: config.gateways.length, restart }, 'the configuration is in force');
    if (restart.length > 0) logger.warn({ restart }, 'these settings wait for a restart');
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    logger.error({ err: error.message }, 'the configuration cannot be used: nothing has changed');
  }
}
