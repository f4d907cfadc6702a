// The sealer's settings: limits of a block and of silence. Refuses anything that would break a rule of the format.
import { z } from 'zod';
import { cosignSchema } from '../cosign/config.ts';
import { MAX_BLOCK_RECORDS } from '../format/block.ts';
import { criticalRules } from './critical-config.ts';

export const ledgerSchema = z
  .strictObject({
    blockRecordsMax: z
      .int()
      .min(1)
      .max(MAX_BLOCK_RECORDS)
      .default(4_096)
      .describe('Most records in one block. A smaller block makes shorter proofs and a longer chain.'),
    blockIntervalMs: z
      .int()
      .min(10)
      .max(60_000)
      .default(1_000)
      .describe('A record waits at most about this long before its block is cut, full or not.'),
    heartbeatMs: z
      .int()
      .min(1_000)
      .max(86_400_000)
      .default(60_000)
      .describe(
        'When nothing arrives for this long, an empty block says that the gateway was alive. What was refused or dropped is put into the ledger at the same interval.',
      ),
    critical: criticalRules
      .default([])
      .describe(
        'Rules for records that are sealed at once, in a block of their own, and listed at /api/v1/critical. The first rule that a record meets counts.',
      ),
    policy: z
      .string()
      .min(1)
      .optional()
      .describe(
        'C2SP policy file that names the authorities and their quorum, for a ledger that has no policy yet. Later ones come by `tidemark policy`.',
      ),
    cosign: cosignSchema.describe('How authorities are asked for cosignatures.'),
  })
  .prefault({});

export type LedgerConfig = z.infer<typeof ledgerSchema>;

/** What opening the log found that the ledger has to say (a gap block), once per boot: `log.recovery` fits. */
export interface RecoveryFacts {
  /** The gateway did not shut down in order before this start. */
  readonly unclean: boolean;
  /** Bytes of an unfinished group cut from the end of the log; none of them was ever acknowledged. */
  readonly truncatedBytes: number;
  /** End of the log after recovery. */
  readonly at: number;
}

/** What the sealer's stage is started with. */
export interface SealerConfig {
  /** The chain's name, e.g. plant7.example.com/gw-3: top-level `origin` of the configuration. */
  readonly origin: string;
  readonly ledger: LedgerConfig;
  /** Goes into the genesis block, e.g. "tidemark 0.1.0". */
  readonly software: string;
  /** 16 hex digits, the same for every start of the stage in one run of the gateway: see newBootId. */
  readonly bootId: string;
  readonly recovery?: RecoveryFacts;
  /** Text of the policy for a chain that has none yet. */
  readonly firstPolicy?: string | undefined;
}

/** A boot id from 8 random bytes. */
export const newBootId = (randomBytes: Uint8Array): string =>
  Buffer.from(randomBytes.subarray(0, 8)).toString('hex');
