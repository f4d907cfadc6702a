// What the gateway remembers of its authorities between runs, as bytes for state.db: sizes they hold, their newest
// cosignatures, the newest final checkpoint. All of it can be asked for again; nothing here is trusted without a check.
import { z } from 'zod';

const memorySchema = z.object({
  version: z.literal(1),
  authorities: z.record(z.string(), z.object({ size: z.int().min(0), line: z.string() })),
  final: z.string().nullable(),
});

export interface CosignMemory {
  /** By key name and key id: the size it cosigned last, and the signature line. */
  readonly authorities: Readonly<Record<string, { readonly size: number; readonly line: string }>>;
  /** Note of the newest checkpoint that met the quorum. */
  readonly final: string | null;
}

export const NO_MEMORY: CosignMemory = { authorities: {}, final: null };

export function encodeMemory({ authorities, final }: CosignMemory): Uint8Array {
  return Buffer.from(JSON.stringify({ version: 1, authorities, final }));
}

/** What cannot be read is as good as nothing: the authorities are asked again. */
export function decodeMemory(bytes: Uint8Array | null): CosignMemory {
  if (!bytes) return NO_MEMORY;
  try {
    const found = memorySchema.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    return found.success ? found.data : NO_MEMORY;
  } catch {
    return NO_MEMORY;
  }
}
