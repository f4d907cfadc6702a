// Owns the configuration of forwarders: what may be set, its limits and defaults. Refuses secrets in a URL.
import { z } from 'zod';
import { topicFilter } from '../gateway/codecs/topic-filter.ts';

const MAX_FORWARDERS = 16;

const brokerUrl = z
  .string()
  .max(2048)
  .superRefine((text, context) => {
    const url = URL.canParse(text) ? new URL(text) : null;
    if (!url || !['mqtt:', 'mqtts:', 'ws:', 'wss:'].includes(url.protocol) || url.hostname === '') {
      context.addIssue({ code: 'custom', message: 'must be mqtt://host:port, mqtts://, ws:// or wss://' });
    } else if (url.username !== '' || url.password !== '') {
      // A URL is printed in logs and status, so it must not carry a secret.
      context.addIssue({
        code: 'custom',
        message: 'must not hold a password: use username with passwordEnv or passwordFile',
      });
    }
  });

/** One forwarder that publishes to another MQTT broker. */
export const mqttForwarderSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'must be lower-case letters, digits and -, at most 63')
      .describe('names the forwarder and its cursor: a new name starts again at the oldest record held'),
    type: z.literal('mqtt').describe('the kind of upstream'),
    url: brokerUrl.describe('the upstream broker, e.g. mqtts://central.example.com:8883'),
    topics: z
      .array(topicFilter)
      .min(1)
      .max(100)
      .default(['#', '$tidemark/#'])
      .describe(
        'MQTT topic filters of what is forwarded; as in MQTT, # alone leaves out $tidemark/ (windows and scores)',
      ),
    topicPrefix: z
      .string()
      .max(256)
      .regex(/^[^+#\0]*$/, 'must not hold + or #')
      .default('')
      .describe(
        'put before each topic upstream, e.g. "site-7/"; a leading $ of the topic is removed, since brokers keep $ for themselves',
      ),
    envelope: z
      .enum(['none', 'json'])
      .default('none')
      .describe(
        'none: the payload as the device sent it; json: offset, times, device, topic and payload in one JSON object, so that any upstream can drop repeats by offset',
      ),
    protocolVersion: z
      .union([z.literal(4), z.literal(5)])
      .default(5)
      .describe(
        'MQTT version: 5 carries offset and device as user properties and falls back to 4 (3.1.1) where refused',
      ),
    clientId: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe('MQTT client id; default tidemark-<name>-<random>'),
    username: z.string().min(1).max(1024).optional().describe('user name at the upstream broker'),
    passwordEnv: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe('name of the environment variable that holds the password'),
    passwordFile: z
      .string()
      .min(1)
      .max(4096)
      .optional()
      .describe('file that holds the password; read again at each connect, so it can be rotated'),
    caFile: z
      .string()
      .min(1)
      .max(4096)
      .optional()
      .describe('PEM file of the authority to trust instead of the system ones'),
    maxInFlight: z
      .int()
      .min(1)
      .max(65_535)
      .default(1000)
      .describe('records sent but not yet acknowledged; also the most that a lost connection repeats'),
    maxInFlightBytes: z
      .int()
      .min(4096)
      .max(1_073_741_824)
      .default(8_388_608)
      .describe('about how many bytes of records may be held in memory unacknowledged'),
    connectTimeoutMs: z
      .int()
      .min(100)
      .max(300_000)
      .default(10_000)
      .describe('give up a connection attempt after this'),
    ackTimeoutMs: z
      .int()
      .min(100)
      .max(3_600_000)
      .default(30_000)
      .describe('an upstream that acknowledges nothing for this long counts as lost, and is connected anew'),
    keepAliveSeconds: z.int().min(5).max(65_535).default(30).describe('MQTT keep alive'),
    retryFirstMs: z
      .int()
      .min(10)
      .max(60_000)
      .default(500)
      .describe('wait before the first retry; doubles with each further one'),
    retryMaxMs: z
      .int()
      .min(10)
      .max(3_600_000)
      .default(30_000)
      .describe('longest wait between retries, which never end'),
    cursorEveryMs: z
      .int()
      .min(10)
      .max(60_000)
      .default(500)
      .describe(
        'how often the cursor is made durable; a crash repeats at most what was acknowledged in this time',
      ),
  })
  .refine((config) => config.retryFirstMs <= config.retryMaxMs, {
    path: ['retryFirstMs'],
    message: 'must not be above retryMaxMs',
  })
  .refine((config) => config.passwordEnv === undefined || config.passwordFile === undefined, {
    path: ['passwordFile'],
    message: 'give passwordEnv or passwordFile, not both',
  })
  .refine(
    (config) =>
      config.username !== undefined ||
      (config.passwordEnv === undefined && config.passwordFile === undefined),
    { path: ['username'], message: 'is needed where a password is given' },
  );

/** The `forwarders` section. */
export const forwardersSchema = z
  .array(mqttForwarderSchema)
  .max(MAX_FORWARDERS)
  .default([])
  .refine((list) => new Set(list.map((entry) => entry.name)).size === list.length, {
    message: 'each forwarder needs its own name',
  })
  .describe('where accepted records are sent on to; each forwarder has its own cursor');

export type MqttForwarderConfig = z.infer<typeof mqttForwarderSchema>;
export type ForwarderConfig = MqttForwarderConfig;
export type ForwardersConfig = z.infer<typeof forwardersSchema>;
