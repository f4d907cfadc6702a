// The `websocket` section: limits of the WebSocket ingest on the HTTP port.
import { z } from 'zod';

const KIB = 1024;

export const webSocketConfigSchema = z.strictObject({
  enabled: z
    .boolean()
    .default(true)
    .describe('Whether the HTTP port takes WebSocket connections for ingest.'),
  maxConnections: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(1_024)
    .describe('Open WebSocket connections; more are answered 503.'),
  maxFrameBytes: z
    .number()
    .int()
    .min(KIB)
    .max(16 * KIB * KIB)
    .default(KIB * KIB)
    .describe('Largest message; a longer one closes the connection (1009).'),
  maxInFlight: z
    .number()
    .int()
    .min(1)
    .max(65_536)
    .default(1_024)
    .describe('Records of one connection waiting for the disk before reading from it pauses.'),
  maxSessions: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(4_096)
    .describe(
      'Sessions remembered for clients that come back, also after a restart; the least recently used one is forgotten.',
    ),
  maxAckBacklogBytes: z
    .number()
    .int()
    .min(KIB)
    .max(16 * KIB * KIB)
    .default(256 * KIB)
    .describe('Bytes of answers a connection has not taken yet before reading from it pauses.'),
  pingIntervalMs: z
    .number()
    .int()
    .min(100)
    .max(3_600_000)
    .default(30_000)
    .describe('A connection that leaves a ping unanswered for this long is closed.'),
});

export type WebSocketConfig = z.infer<typeof webSocketConfigSchema>;
