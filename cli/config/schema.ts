// The whole configuration: each room's own section under one roof. Holds no settings but those of no single room.
import { hostname } from 'node:os';
import { z } from 'zod';
import { accessConfigSchema } from '../../gateway/access/config.ts';
import { ingestConfigSchema, pressureConfigSchema } from '../../gateway/admission/config.ts';
import { httpConfigSchema } from '../../gateway/api/config.ts';
import { coldConfigSchema } from '../../gateway/cold/config.ts';
import { connectionsConfigSchema } from '../../gateway/ingest/connection-caps.ts';
import { mqttConfigSchema } from '../../gateway/ingest/mqtt/config.ts';
import { webSocketConfigSchema } from '../../gateway/ingest/websocket/config.ts';
import { logConfigSchema } from '../../gateway/log/config.ts';
import { retentionConfigSchema } from '../../gateway/retention/config.ts';
import { sparkplugConfigSchema } from '../../gateway/sparkplug/config.ts';
import { windowsConfigSchema } from '../../gateway/windows/config.ts';
import { ledgerSchema } from '../../ledger/seal/config.ts';
import { timestampSchema } from '../../ledger/timestamp/config.ts';
import { modelsConfigSchema } from '../../models/config.ts';
import { forwardersSchema } from '../../sync/config.ts';
import { checkRelations } from './relations.ts';

/** Used until the operator gives the gateway a name; a name never changes once its ledger has begun. */
export const defaultOrigin = () =>
  `tidemark.local/${hostname().replaceAll(/[^A-Za-z0-9.-]/g, '-') || 'gateway'}`;

export const gatewayConfig = z
  .strictObject({
    origin: z
      .string()
      .max(255)
      .regex(/^[^\s+\p{C}]+$/u, 'a name without spaces and `+`, e.g. plant7.example.com/gw-3')
      .optional()
      .describe(
        'The gateway’s name in its ledger, e.g. plant7.example.com/gw-3. Default tidemark.local/<host name>; fixed by the first start.',
      ),
    dataDir: z
      .string()
      .min(1)
      .default('./tidemark-data')
      .describe('Where everything durable lives. Relative to this file.'),
    logLevel: z
      .enum(['debug', 'info', 'warn', 'error'])
      .default('info')
      .describe('What is written to standard error, as JSON lines.'),
    access: accessConfigSchema.prefault({}).describe('Who may do what.'),
    ingest: ingestConfigSchema.prefault({}).describe('What is accepted from devices, whatever the protocol.'),
    pressure: pressureConfigSchema
      .prefault({})
      .describe('How full the gateway may be before it refuses records.'),
    connections: connectionsConfigSchema
      .prefault({})
      .describe('Open connections of all listeners together: MQTT, HTTP, WebSocket.'),
    mqtt: mqttConfigSchema.prefault({}).describe('The MQTT port.'),
    http: httpConfigSchema.prefault({}).describe('The HTTP port: ingest, API, WebSocket, dashboard, ledger.'),
    websocket: webSocketConfigSchema.prefault({}).describe('WebSocket ingest at /ws of the HTTP port.'),
    log: logConfigSchema.prefault({}).describe('The log on disk.'),
    retention: retentionConfigSchema.describe(
      'What is removed from the log, and when. By default nothing is.',
    ),
    cold: coldConfigSchema
      .optional()
      .describe('Where closed segments are copied to, so that the local ones may go. By default nowhere.'),
    sparkplug: sparkplugConfigSchema.prefault({}).describe('Sparkplug B payloads.'),
    windows: windowsConfigSchema,
    models: modelsConfigSchema,
    ledger: ledgerSchema.describe('Sealing.'),
    timestamp: timestampSchema
      .optional()
      .describe('External timestamps (RFC 3161) of the newest checkpoint. By default none are asked for.'),
    forwarders: forwardersSchema,
  })
  .superRefine(checkRelations);

export type GatewayConfig = z.infer<typeof gatewayConfig>;
