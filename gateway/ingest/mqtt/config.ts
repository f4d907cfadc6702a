// The `mqtt` section: where the broker listens and what one client may use up.
import { z } from 'zod';
import { TLS_FIELDS, type TlsConfig } from '../../access/tls.ts';

const KIB = 1024;

const tlsSchema = z
  .strictObject({
    enabled: z.boolean().default(false).describe('Whether to listen for MQTT over TLS.'),
    port: z.number().int().min(0).max(65_535).default(8883).describe('Its port; 0 takes a free one.'),
    ...TLS_FIELDS,
    cert: TLS_FIELDS.cert.optional(),
    key: TLS_FIELDS.key.optional(),
  })
  .refine((tls) => !tls.enabled || (tls.cert !== undefined && tls.key !== undefined), {
    path: ['cert'],
    error: 'cert and key are needed while tls.enabled is true',
  })
  .refine(({ ca, clientCertificates }) => clientCertificates === 'none' || ca !== undefined, {
    path: ['ca'],
    error: 'must name the authorities of the client certificates that are asked for',
  });

const webSocketSchema = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe('Whether to listen for MQTT over WebSocket on a port of its own.'),
  port: z.number().int().min(0).max(65_535).default(8083).describe('Its port; 0 takes a free one.'),
  path: z
    .string()
    .regex(/^\/[\w./-]*$/, 'must be a path such as /mqtt')
    .default('/mqtt')
    .describe('Path of MQTT over WebSocket, on that port and on the HTTP port.'),
  onHttpPort: z
    .boolean()
    .default(true)
    .describe('Whether the HTTP port takes MQTT over WebSocket at this path too.'),
});

export const mqttConfigSchema = z.strictObject({
  enabled: z.boolean().default(true).describe('Whether to listen for MQTT.'),
  host: z
    .string()
    .min(1)
    .default('127.0.0.1')
    .describe(
      'Address to listen on. Clients on other machines are refused until access control is configured.',
    ),
  port: z.number().int().min(0).max(65_535).default(1883).describe('TCP port; 0 takes a free one.'),
  tls: tlsSchema.prefault({}),
  webSocket: webSocketSchema.prefault({}),
  maxConnections: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(4_096)
    .describe('Open connections; more are closed at once (and counted).'),
  maxPacketBytes: z
    .number()
    .int()
    .min(KIB)
    .max(16 * KIB * KIB)
    .default(KIB * KIB)
    .describe('Largest packet; a longer one closes the connection as soon as its length has been read.'),
  connectTimeoutMs: z
    .number()
    .int()
    .min(100)
    .max(600_000)
    .default(10_000)
    .describe('A connection that has sent no CONNECT by then is closed.'),
  packetTimeoutMs: z
    .number()
    .int()
    .min(100)
    .max(3_600_000)
    .default(60_000)
    .describe('A connection that has begun a packet and not finished it by then is closed.'),
  maxUnfinishedBytes: z
    .number()
    .int()
    .min(64 * KIB)
    .max(1024 * KIB * KIB)
    .default(64 * KIB * KIB)
    .describe(
      'Bytes of packets not yet complete, of all clients; beyond it, those who hold most are closed.',
    ),
  maxKeepAliveSeconds: z
    .number()
    .int()
    .min(0)
    .max(65_535)
    .default(0)
    .describe(
      'Longest keep alive; MQTT 5 clients that ask for more, or for none, are told this one. 0: any.',
    ),
  receiveMaximum: z
    .number()
    .int()
    .min(1)
    .max(65_535)
    .default(1_000)
    .describe('QoS 1 and 2 publishes an MQTT 5 client may have unanswered; one more closes the connection.'),
  maxTopicAliases: z
    .number()
    .int()
    .min(0)
    .max(1_000)
    .default(32)
    .describe('Topic aliases of one MQTT 5 connection, each way.'),
  maxUserProperties: z
    .number()
    .int()
    .min(0)
    .max(1_000)
    .default(64)
    .describe('User properties of one publish; one with more is refused.'),
  maxInFlightOut: z
    .number()
    .int()
    .min(1)
    .max(65_535)
    .default(100)
    .describe('Messages sent to one subscriber and not yet acknowledged; further ones wait.'),
  readBytesPerTurn: z
    .number()
    .int()
    .min(4 * KIB)
    .max(16 * KIB * KIB)
    .default(128 * KIB)
    .describe('Bytes taken from one client before all others have had their turn.'),
  maxSessionExpirySeconds: z
    .number()
    .int()
    .min(0)
    .max(4_294_967_295)
    .default(604_800)
    .describe('Longest a session outlives its connection, also one without clean session in MQTT 3.1.1.'),
  overloadHoldMs: z
    .number()
    .int()
    .min(0)
    .max(600_000)
    .default(5_000)
    .describe(
      'While the disk is full or behind, publishes are held and tried again for this long; then the client is closed.',
    ),
  subscriberDrainMs: z
    .number()
    .int()
    .min(100)
    .max(600_000)
    .default(10_000)
    .describe('A subscriber that takes nothing for this long is closed.'),
  socketBufferBytes: z
    .number()
    .int()
    .min(16 * KIB)
    .max(4 * KIB * KIB)
    .default(256 * KIB)
    .describe(
      'Bytes read ahead from, and waiting to be sent to, one client. QoS 0 beyond it is not forwarded (and counted).',
    ),
  maxQos2InFlight: z
    .number()
    .int()
    .min(1)
    .max(65_535)
    .default(1_000)
    .describe('QoS 2 publishes of one client waiting for PUBREL; one more closes the connection.'),
  maxSubscriptions: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(256)
    .describe('Subscriptions of one client; further ones are answered with 0x80.'),
  maxSessions: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(4_096)
    .describe(
      'Sessions that outlive their connection (clean session off); a further client that asks for one is refused.',
    ),
  maxQueued: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(1_000)
    .describe(
      'Messages kept for one absent or slow subscriber; later ones are not kept for it (and counted).',
    ),
  maxQueuedBytes: z
    .number()
    .int()
    .min(KIB)
    .max(1024 * KIB * KIB)
    .default(32 * KIB * KIB)
    .describe('Bytes kept for all absent and slow subscribers together.'),
  maxRetained: z
    .number()
    .int()
    .min(0)
    .max(1_000_000)
    .default(10_000)
    .describe('Retained messages; one on a further topic is passed on but not retained (and counted).'),
  maxRetainedBytes: z
    .number()
    .int()
    .min(0)
    .max(1024 * KIB * KIB)
    .default(16 * KIB * KIB)
    .describe('Bytes of all retained messages together.'),
});

/** The files of the TLS port; null: it is switched off. */
export function tlsFilesOf({ tls }: MqttConfig): TlsConfig | null {
  const { enabled, cert, key } = tls;
  return enabled && cert !== undefined && key !== undefined ? { ...tls, cert, key } : null;
}

export type MqttConfig = z.infer<typeof mqttConfigSchema>;
