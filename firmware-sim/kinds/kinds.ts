// Owns the list of device kinds by name.
import type { Kind, KindDescription } from '../device.ts';
import { airQuality } from './air-quality.ts';
import { coldStore } from './cold-store.ts';
import { energyMeter } from './energy-meter.ts';
import { gpsTracker } from './gps-tracker.ts';
import { inverter } from './inverter.ts';
import { pump } from './pump.ts';
import { windTurbine } from './wind-turbine.ts';

export const kinds: Readonly<Record<Kind, KindDescription>> = {
  pump,
  'cold-store': coldStore,
  inverter,
  'air-quality': airQuality,
  'energy-meter': energyMeter,
  'gps-tracker': gpsTracker,
  'wind-turbine': windTurbine,
};
