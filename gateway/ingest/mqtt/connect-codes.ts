// Reason codes of MQTT 5 as the return codes CONNACK has in 3.1.1 (§3.2.2.3). Null: it has none, the connection just ends.
import { REASON } from './reason.ts';

const CODES: Readonly<Record<number, number>> = {
  [REASON.unsupportedVersion]: 1,
  [REASON.badClientId]: 2,
  [REASON.serverUnavailable]: 3,
  [REASON.serverBusy]: 3,
  [REASON.serverShuttingDown]: 3,
  [REASON.quotaExceeded]: 3,
  [REASON.badCredentials]: 4,
  [REASON.notAuthorized]: 5,
  [REASON.badAuthMethod]: 5,
  [REASON.connectionRate]: 5,
};

export const refusalCode = (reason: number): number | null => CODES[reason] ?? null;
