// What is checked, and what must be found: sound variants in which nothing is, and mistakes that must show.
import type { Outcome } from './checker.ts';
import type { Variant } from './protocol.ts';

export interface CheckedVariant {
  readonly name: string;
  readonly variant: Variant;
  /** What the search must find; empty: it must find nothing. */
  readonly finds: readonly Exclude<keyof Outcome, 'states' | 'steps'>[];
}

const two = { authorities: 3, quorum: 2, lyingAuthorities: 0 } as const;
const three = { authorities: 4, quorum: 3, lyingAuthorities: 1 } as const;

export const SMALL: readonly CheckedVariant[] = [
  { name: '2 of 3, crashes', variant: { ...two, size: 2, crashes: 2 }, finds: [] },
  { name: '2 of 3, a disk set back', variant: { ...two, size: 2, crashes: 1, rollbacks: 1 }, finds: [] },
  { name: '3 of 4, one lies, crashes', variant: { ...three, size: 2, crashes: 1 }, finds: [] },
  {
    name: '3 of 4, one lies, a disk set back',
    variant: { ...three, size: 2, crashes: 1, rollbacks: 1 },
    finds: [],
  },
  {
    name: '2 of 3, authorities that show nothing, a disk set back',
    variant: { ...two, silent: true, size: 2, crashes: 1, rollbacks: 1 },
    finds: [],
  },
  {
    name: '3 of 4, one lies and none shows anything, a disk set back',
    variant: { ...three, silent: true, size: 2, crashes: 1, rollbacks: 1 },
    finds: [],
  },
  { name: '2 of 3, the gateway lies', variant: { ...two, size: 3, lyingGateway: true }, finds: [] },
  {
    name: '3 of 4, one lies, the gateway lies',
    variant: { ...three, size: 2, lyingGateway: true },
    finds: [],
  },
  {
    name: 'mistake: 2 of 4, the gateway lies',
    variant: { authorities: 4, quorum: 2, lyingAuthorities: 0, size: 1, lyingGateway: true },
    finds: ['twoFinals'],
  },
  {
    name: 'mistake: 2 of 3 with a liar, the gateway lies',
    variant: { ...two, lyingAuthorities: 1, size: 1, lyingGateway: true },
    finds: ['twoFinals'],
  },
  {
    name: 'mistake: signed before it is durable',
    variant: { ...two, size: 1, crashes: 1, mistake: 'sign-before-sync' },
    finds: ['twoSignatures', 'stuck'],
  },
  {
    name: 'mistake: an authority restored from a backup keeps its key',
    variant: { ...two, size: 1, lyingGateway: true, mistake: 'authority-forgets' },
    finds: ['twoFinals'],
  },
  {
    name: 'mistake: an authority answers before it stores',
    variant: { ...two, size: 1, lyingGateway: true, mistake: 'answer-before-store' },
    finds: ['twoFinals'],
  },
  {
    name: 'mistake: a gateway that believes any claim',
    variant: { ...three, size: 1, mistake: 'believes-any-claim' },
    finds: ['stuck'],
  },
  {
    name: 'mistake: a quorum of more authorities than there are',
    variant: { authorities: 3, quorum: 4, lyingAuthorities: 0, size: 1 },
    finds: ['stuck'],
  },
];

export const LARGE: readonly CheckedVariant[] = [
  ...SMALL,
  { name: '2 of 3, size 3, crashes', variant: { ...two, size: 3, crashes: 2 }, finds: [] },
  {
    name: '2 of 3, size 3, a disk set back',
    variant: { ...two, size: 3, crashes: 1, rollbacks: 1 },
    finds: [],
  },
  { name: '3 of 4, one lies, size 3', variant: { ...three, size: 3, crashes: 1, rollbacks: 1 }, finds: [] },
  {
    name: '3 of 4, one lies, the gateway lies, size 3',
    variant: { ...three, size: 3, lyingGateway: true },
    finds: [],
  },
];
