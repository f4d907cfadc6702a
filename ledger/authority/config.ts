// The authority's settings: who it is, where it listens, which gateways it cosigns for. Holds no secret.
import { isIP } from 'node:net';
import { z } from 'zod';
import { FormatError } from '../format/errors.ts';
import { parseVerifierKey, SIGNATURE_TYPE } from '../format/note.ts';

const gatewayKeyText = z.string().superRefine((text, context) => {
  try {
    const { type } = parseVerifierKey(text);
    if (type === SIGNATURE_TYPE.ed25519) return;
    context.addIssue({ code: 'custom', message: 'is a cosigner’s key: a gateway’s has type 01' });
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    context.addIssue({ code: 'custom', message: error.message });
  }
});

const cidr = z.string().refine((text) => {
  const [address, bits, ...rest] = text.split('/');
  const family = isIP(address ?? '');
  const most = family === 4 ? 32 : 128;
  return (
    family !== 0 &&
    rest.length === 0 &&
    (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most))
  );
}, 'an address or a network, e.g. 10.0.0.0/8');

const servedGateway = z
  .strictObject({
    keys: z
      .array(gatewayKeyText)
      .min(1)
      .max(16)
      .describe(
        'Verifier keys of the gateway, all of one name (its origin). During a key rotation the old and the new one.',
      ),
    revoked: z
      .array(
        z.strictObject({
          key: gatewayKeyText.describe('A key of this gateway that is no longer good.'),
          notAfter: z.int().min(0).describe('The largest tree size for which its signature still counts.'),
        }),
      )
      .max(16)
      .default([])
      .describe('Keys given up: what they sign beyond a size is refused.'),
    mirror: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe(
        'Address of the gateway’s block log, e.g. https://gw-3.example.com/ledger: blocks are copied from there after each cosignature and served under /mirror/.',
      ),
  })
  .superRefine(({ keys, revoked }, context) => {
    const names = new Set([...keys, ...revoked.map(({ key }) => key)].map((key) => key.split('+', 1)[0]));
    if (names.size > 1)
      context.addIssue({ code: 'custom', path: ['keys'], message: 'are of more than one origin' });
  });

export const authorityConfig = z
  .strictObject({
    name: z
      .string()
      .max(255)
      .regex(/^[^\s+\p{C}]+$/u, 'a name without spaces and `+`, e.g. regulator.example.com/w1')
      .describe('Name of this authority’s key, as policies name it.'),
    dataDir: z
      .string()
      .min(1)
      .default('./authority-data')
      .describe('Where its key, its database, evidence and mirrors live. Relative to this file.'),
    host: z.string().default('127.0.0.1').describe('Address to listen on.'),
    port: z.int().min(0).max(65_535).default(8_090).describe('TCP port. 0: any free one.'),
    tls: z
      .strictObject({
        cert: z.string().describe('Certificate chain, PEM file.'),
        key: z.string().describe('Its private key, PEM file.'),
      })
      .optional()
      .describe('Serve HTTPS. Without it, HTTP.'),
    gateways: z
      .array(servedGateway)
      .min(1)
      .max(10_000)
      .describe('The gateways it cosigns for; all others get 404.'),
    allow: z
      .array(cidr)
      .max(1_000)
      .default([])
      .describe(
        'Addresses and networks that may submit; empty: all. Reading (checkpoints, evidence) is open to all.',
      ),
    maxBodyBytes: z.int().min(4_096).max(1_048_576).default(65_536).describe('Longest submission.'),
    maxConnections: z.int().min(1).max(100_000).default(1_000).describe('Most open connections.'),
    requestTimeoutMs: z
      .int()
      .min(100)
      .max(600_000)
      .default(10_000)
      .describe('A request must have arrived by then.'),
    historyKept: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(10_000)
      .describe(
        'Cosigned tree heads remembered for each gateway, to recognise an old size with another root.',
      ),
    evidenceMax: z
      .int()
      .min(1)
      .max(10_000)
      .default(100)
      .describe('Evidence files kept for each gateway; no more are written.'),
    mirrorMaxBlocks: z
      .int()
      .min(1)
      .default(1_000_000)
      .describe(
        'Blocks copied of each gateway at most. A first copy is held in memory until it is checked, about 350 bytes a block.',
      ),
  })
  .superRefine(({ gateways }, context) => {
    const origins = gateways.map(({ keys }) => keys[0]!.split('+', 1)[0]!);
    for (const [index, origin] of origins.entries()) {
      if (origins.indexOf(origin) === index) continue;
      context.addIssue({ code: 'custom', path: ['gateways', index], message: `${origin} is named twice` });
    }
  });

export type AuthorityConfig = z.infer<typeof authorityConfig>;
