// Owns the list of device kinds by name.
import type { Kind, KindDescription } from '../device.ts';
import { airQuality } from './air-quality.ts';
import { coldStore } from './cold-store.ts';
import { inverter } from './inverter.ts';
import { pump } from './pump.ts';

export const kinds: Readonly<Record<Kind, KindDescription>> = {
  pump,
  'cold-store': coldStore,
  inverter,
  'air-quality': airQuality,
};
