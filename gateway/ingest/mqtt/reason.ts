// The reason codes of MQTT 5 §2.4 that this gateway sends or understands, and the faults that end a connection.

export const REASON = {
  success: 0x00,
  disconnectWithWill: 0x04,
  noSubscriptionExisted: 0x11,
  unspecified: 0x80,
  malformed: 0x81,
  protocolError: 0x82,
  implementationSpecific: 0x83,
  unsupportedVersion: 0x84,
  badClientId: 0x85,
  badCredentials: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  serverShuttingDown: 0x8b,
  badAuthMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  takenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  connectionRate: 0x9f,
  maximumConnectTime: 0xa0,
} as const;

/** Bytes that are not MQTT, or not allowed where they stand: the connection ends. */
export class PacketFault extends Error {
  override name = 'PacketFault';
  readonly code: number;

  constructor(code: number, detail: string) {
    super(detail);
    this.code = code;
  }
}

export const malformed = (detail: string): PacketFault => new PacketFault(REASON.malformed, detail);
export const protocolError = (detail: string): PacketFault => new PacketFault(REASON.protocolError, detail);
