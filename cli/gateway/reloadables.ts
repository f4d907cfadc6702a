// Which parts of the running gateway take which keys of a changed configuration. What is not named here waits for a
// restart.
import type { Logger } from 'pino';
import type { AccessControl } from '../../gateway/access/control.ts';
import type { TlsConfig, TlsMaterial } from '../../gateway/access/tls.ts';
import type { Admission } from '../../gateway/admission/admission.ts';
import { INGEST_RULES } from '../../gateway/admission/config.ts';
import type { Pressure } from '../../gateway/admission/pressure.ts';
import type { ConnectionCaps } from '../../gateway/ingest/connection-caps.ts';
import { tlsFilesOf } from '../../gateway/ingest/mqtt/config.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { Reloadable } from './reload.ts';
import type { Stages } from './stages.ts';

export interface ReloadedParts {
  readonly access: AccessControl;
  readonly admission: Admission;
  readonly pressure: Pressure;
  readonly caps: ConnectionCaps;
  readonly stages: Stages;
  /** The gateway's own, and those that hear warnings only. */
  readonly loggers: readonly [Logger, ...Logger[]];
  /** Of the listeners that have TLS switched on. */
  readonly tls: Readonly<Record<'mqtt' | 'http', TlsMaterial | null>>;
}

export function reloadables(parts: ReloadedParts): Reloadable[] {
  const { access, admission, pressure, caps, stages, loggers } = parts;
  return [
    {
      keys: ['access'],
      except: ['access.passwords.rememberMs', 'access.passwords.maxRemembered', 'access.maxPrincipals'],
      check: (next) => (access.check(next.access) ? ['access.jwt (key sets)'] : []),
      apply: (next) => access.configure(next.access),
    },
    {
      keys: INGEST_RULES.map((key) => `ingest.${key}`),
      apply: ({ ingest }) => admission.update(ingest),
    },
    { keys: ['pressure'], apply: (next) => pressure.update(next.pressure) },
    { keys: ['connections'], apply: ({ connections }) => caps.update(connections) },
    {
      keys: ['logLevel'],
      apply: ({ logLevel }) => {
        const [own, ...others] = loggers;
        own.level = logLevel;
        for (const logger of others) logger.level = own.isLevelEnabled('warn') ? 'warn' : logLevel;
      },
    },
    tlsPart(
      'mqtt.tls',
      () => parts.tls.mqtt,
      ({ mqtt }) => tlsFilesOf(mqtt),
    ),
    tlsPart(
      'http.tls',
      () => parts.tls.http,
      ({ http }) => http.tls ?? null,
    ),
    { keys: ['forwarders'], apply: (next) => stages.useForwarders(next) },
  ];
}

/** Files are read on every reload: a renewed certificate has the name of the old one. */
function tlsPart(
  section: string,
  materialOf: () => TlsMaterial | null,
  configOf: (config: GatewayConfig) => TlsConfig | null,
): Reloadable {
  let read: { material: TlsMaterial; files: TlsMaterial['files']; config: TlsConfig } | null = null;
  return {
    keys: ['cert', 'key', 'ca', 'minVersion'].map((key) => `${section}.${key}`),
    check: (next) => {
      const [material, config] = [materialOf(), configOf(next)];
      read = material && config ? { material, config, files: material.read(config) } : null;
      const changed = read && JSON.stringify(read.files.context) !== JSON.stringify(material!.files.context);
      return changed ? [`${section} (certificate ${read!.files.fingerprint.slice(0, 16)})`] : [];
    },
    apply: () => read?.material.use(read.files, read.config),
  };
}
