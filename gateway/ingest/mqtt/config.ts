// The `mqtt` section: where the broker listens and what one client may use up.
import { z } from 'zod';

const KIB = 1024;

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
    .describe('Clients whose session (clean session off) is kept in memory; further ones cannot subscribe.'),
  maxQueued: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(1_000)
    .describe('Messages kept for one absent subscriber; later ones are not kept for it (and counted).'),
  maxQueuedBytes: z
    .number()
    .int()
    .min(KIB)
    .max(1024 * KIB * KIB)
    .default(32 * KIB * KIB)
    .describe('Payload bytes kept for all absent subscribers together.'),
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
    .describe('Payload bytes of all retained messages together.'),
});

export type MqttConfig = z.infer<typeof mqttConfigSchema>;
