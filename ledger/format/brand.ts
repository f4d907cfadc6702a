// Nominal number types: an offset, a tree size and a block height look alike and must not be mixed.
declare const brand: unique symbol;
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** Position of one record in a gateway's log, from 0, never reused. A safe integer. */
export type Offset = Brand<number, 'Offset'>;
/** Leaf index of a block in the block log, from 0. A safe integer. */
export type BlockHeight = Brand<number, 'BlockHeight'>;
/** Number of leaves in a tree: last index + 1. A safe integer. */
export type TreeSize = Brand<number, 'TreeSize'>;

function checked(value: number, what: string): number {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`${what} must be a whole number from 0 to 2^53-1, not ${value}`);
  return value;
}

export const offset = (value: number): Offset => checked(value, 'offset') as Offset;
export const blockHeight = (value: number): BlockHeight => checked(value, 'block height') as BlockHeight;
export const treeSize = (value: number): TreeSize => checked(value, 'tree size') as TreeSize;
