// Reads numbers out of paths and query strings strictly: decimal digits of a safe integer, or nothing.
import { type Offset, offset } from '../../ledger/format/brand.ts';
import type { Problem } from '../ingest/problem.ts';

export type Query = Readonly<Record<string, string | string[] | undefined>>;

/** 0..2^53-1 written without sign, leading zeros or exponent; null for anything else. */
export function wholeNumber(text: unknown): number | null {
  if (typeof text !== 'string' || !/^(0|[1-9]\d{0,15})$/.test(text)) return null;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : null;
}

export function offsetIn(text: unknown): Offset | Problem {
  const value = wholeNumber(text);
  return value === null
    ? {
        status: 400,
        code: 'malformed',
        detail: 'An offset is a whole number from 0 to 2^53−1, in decimal digits.',
      }
    : offset(value);
}

/** `?limit=`: `fallback` when absent, a problem when it is not 1..max. */
export function limitIn(query: Query, fallback: number, max: number): number | Problem {
  if (query.limit === undefined) return Math.min(fallback, max);
  const value = wholeNumber(query.limit);
  if (value === null || value < 1 || value > max) {
    return { status: 400, code: 'malformed', detail: `limit is a whole number from 1 to ${max}.` };
  }
  return value;
}

/** A text parameter given once; undefined when absent. */
export function textIn(query: Query, name: string): string | undefined | Problem {
  const value = query[name];
  if (Array.isArray(value))
    return { status: 400, code: 'malformed', detail: `${name} is given more than once.` };
  return value;
}

/** A time in unix milliseconds, given at most once; undefined when absent. */
export function timeIn(query: Query, name: string): number | undefined | Problem {
  const text = query[name];
  if (text === undefined) return undefined;
  const value = typeof text === 'string' && /^-?(0|[1-9]\d{0,15})$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(value)
    ? value
    : { status: 400, code: 'malformed', detail: `${name} is a whole number of unix milliseconds.` };
}

export const isProblem = (value: unknown): value is Problem =>
  typeof value === 'object' && value !== null && 'code' in value && 'status' in value;
