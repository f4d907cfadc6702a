// What the gateway remembers of its authorities between runs, as bytes for state.db: sizes they hold, their newest
// cosignatures, the newest final checkpoint. All of it can be asked for again; nothing here is trusted without a check.

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
    const { version, authorities, final } = JSON.parse(Buffer.from(bytes).toString('utf8'));
    const isWhole =
      version === 1 && areAuthorities(authorities) && (final === null || typeof final === 'string');
    return isWhole ? { authorities, final } : NO_MEMORY;
  } catch {
    return NO_MEMORY;
  }
}

const areAuthorities = (value: unknown): value is CosignMemory['authorities'] =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  Object.values(value).every(
    (one) => Number.isSafeInteger(one?.size) && one.size >= 0 && typeof one.line === 'string',
  );
