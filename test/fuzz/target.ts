// What a fuzz target is: good inputs, and a claim about any bytes. Runs nothing.
import { deepStrictEqual } from 'node:assert';
import { FormatError } from '../../ledger/format/errors.ts';

export interface Target {
  readonly name: string;
  /** Inputs that are right, to be damaged. */
  readonly good: readonly Uint8Array[];
  /** Throws when the claim does not hold for these bytes. `isGood`: they are one of the good inputs, unchanged. */
  readonly check: (bytes: Buffer, isGood: boolean) => void | Promise<void>;
  /** Weight: the share of the time this target gets. Default 1. */
  readonly share?: number;
  readonly close?: () => Promise<void>;
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** The value, or null where the bytes are refused with a FormatError. Any other error is a finding. */
export function orRefused<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

/** What is accepted must be written back as the very same bytes: one meaning has one form. */
export function oneForm<T>(
  name: string,
  good: readonly Uint8Array[],
  read: (bytes: Buffer) => T,
  write: (value: T) => Uint8Array | string,
): Target {
  return {
    name,
    good,
    check: (bytes, isGood) => {
      const value = orRefused(() => read(bytes));
      if (value === null) {
        if (isGood) throw new Error('good input is refused');
        return;
      }
      const back = write(value);
      const expected = typeof back === 'string' ? Buffer.from(back) : Buffer.from(back);
      if (!expected.equals(bytes))
        deepStrictEqual(expected.toString('latin1'), bytes.toString('latin1'), 'accepted in a second form');
    },
  };
}

/** The same for text. Bytes that are no UTF-8 arrive as the replacement characters a decoder makes of them. */
export function oneTextForm<T>(
  name: string,
  good: readonly string[],
  read: (text: string) => T,
  write: (value: T) => string,
): Target {
  const target = oneForm(name, good.map(utf8), (bytes) => read(bytes.toString('utf8')), write);
  return { ...target, check: (bytes, isGood) => target.check(Buffer.from(bytes.toString('utf8')), isGood) };
}
