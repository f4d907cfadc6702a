// The fleet that sends while chaos reigns: every protocol, every quirk, at a rate that leaves the machine room.
import { parseScenario, type ScenarioFile } from '../../firmware-sim/scenario-file.ts';

export function chaosFleet(seed: number, seconds: number): ScenarioFile {
  return parseScenario(`
name: chaos
about: Faults drawn from a seed, one after another and several at once, while a fleet of every protocol sends.
seed: ${seed}
seconds: ${seconds}
drainSeconds: 120
dayMinutes: 20
faultsPerHour: 240
fleets:
  - { name: pump, kind: pump, count: 20, ratePerDevice: 4, rampSeconds: 2, churnPerMinute: 0.1,
      quirks: { duplicates: 0.02, reordered: 0.02 } }
  - { name: lorry, kind: gps-tracker, count: 8, ratePerDevice: 2,
      quirks: { offlinePerHour: 60, offlineSeconds: [1, 20], batch: 3, restartsPerHour: 20, sequence: reset } }
  - { name: store, kind: cold-store, count: 6, protocol: http, ratePerDevice: 2, quirks: { duplicates: 0.02 } }
  - { name: panel, kind: inverter, count: 4, protocol: websocket, ratePerDevice: 5, quirks: { duplicates: 0.02 } }
  - { name: agent, kind: energy-meter, count: 3, protocol: line, ratePerDevice: 2 }
  - { name: press, kind: pump, count: 6, protocol: mqtt5, ratePerDevice: 4, churnPerMinute: 0.1, quirks: { reordered: 0.02 } }
  - { name: line, kind: energy-meter, count: 3, protocol: sparkplug, ratePerDevice: 2,
      quirks: { offlinePerHour: 30, offlineSeconds: [1, 5] } }
  - { name: air, kind: air-quality, count: 4, ratePerDevice: 1,
      quirks: { clockJumpsPerHour: 60, clockJumpSeconds: 900, clockDriftPpm: 200, restartsPerHour: 20 } }
storms: [{ atSeconds: ${seconds / 2}, forSeconds: 1, spreadSeconds: 1 }]
`);
}
