// The HTTP port's settings and limits. Holds no defaults that open the gateway to anyone but this machine.
import { z } from 'zod';
import { tlsConfigSchema } from '../access/tls.ts';
import { httpIngestConfigSchema } from '../ingest/http/config.ts';

const hostName = z
  .string()
  .regex(
    /^[A-Za-z0-9.-]{1,253}$|^\[[0-9A-Fa-f:.]+\]$/,
    'a host name or a bracketed IPv6 address, without scheme or port',
  );

export const httpConfigSchema = z.strictObject({
  host: z
    .string()
    .min(1)
    .default('127.0.0.1')
    .describe(
      'Address to listen on. Requests from other machines are refused until access control is configured.',
    ),
  port: z
    .number()
    .int()
    .min(0)
    .max(65_535)
    .default(8080)
    .describe('TCP port for HTTP, WebSocket and the dashboard. 0 takes a free one.'),
  allowedHosts: z
    .array(hostName)
    .max(64)
    .default([])
    .describe(
      'Names, besides localhost and loopback addresses, that requests may carry in the Host header (protects against DNS rebinding).',
    ),
  maxConnections: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(2048)
    .describe('Open HTTP connections; more are closed at once.'),
  maxBodyBytes: z
    .number()
    .int()
    .min(1024)
    .max(256 * 1024 * 1024)
    .default(8 * 1024 * 1024)
    .describe('Largest request body.'),
  maxHeaderBytes: z.number().int().min(2048).max(65_536).default(16_384).describe('Largest request head.'),
  requestTimeoutMs: z
    .number()
    .int()
    .min(1000)
    .max(600_000)
    .default(30_000)
    .describe('Time a client has to send its whole request.'),
  keepAliveTimeoutMs: z
    .number()
    .int()
    .min(0)
    .max(600_000)
    .default(60_000)
    .describe('An idle connection is closed after this.'),
  tls: tlsConfigSchema
    .optional()
    .describe('Certificate and key: the port then speaks HTTPS, and nothing else. Default plain HTTP.'),
  ingest: httpIngestConfigSchema.prefault({}).describe('What is particular to ingest over HTTP.'),
  maxConcurrentReads: z
    .number()
    .int()
    .min(1)
    .max(1024)
    .default(8)
    .describe('Record reads and proofs in work at once; more are answered 503 with Retry-After.'),
  maxReadBytes: z
    .number()
    .int()
    .min(65_536)
    .max(64 * 1024 * 1024)
    .default(2 * 1024 * 1024)
    .describe(
      'Bytes of log one range read looks through before it answers with what it found and where to go on.',
    ),
  maxTailClients: z
    .number()
    .int()
    .min(0)
    .max(4096)
    .default(64)
    .describe('Open /api/v1/tail streams; more are answered 503.'),
  maxTailBufferBytes: z
    .number()
    .int()
    .min(4096)
    .max(16 * 1024 * 1024)
    .default(262_144)
    .describe('Bytes waiting for one slow tail client before its updates are skipped (and counted).'),
  maxTailRecordsPerSecond: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(500)
    .describe(
      'Derived records sent to tail clients each second; further ones are skipped (and counted), never queued.',
    ),
  derivedKept: z
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(200)
    .describe('Newest anomalies, and newest windows, kept in memory for reading.'),
  derivedLookBackRecords: z
    .number()
    .int()
    .min(0)
    .max(10_000_000)
    .default(50_000)
    .describe('On start, how many of the newest records are searched for derived ones.'),
});

export type HttpConfig = z.infer<typeof httpConfigSchema>;
