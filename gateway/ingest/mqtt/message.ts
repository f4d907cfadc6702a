// A message on its way to subscribers: what was published, without the connection it came by. Holds its bytes alone, so
// that a few of them never keep a whole receive buffer alive.

export type Qos = 0 | 1 | 2;

export interface Message {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  /** Properties that go to subscribers unchanged, encoded (MQTT 5); empty otherwise. */
  readonly properties: Uint8Array;
  /** Unix ms from which it is no longer passed on; 0: never. */
  readonly expiresMs: number;
  /** Client id of its publisher, for subscriptions without their own messages; '' for the gateway's. */
  readonly publisher: string;
}

const NONE = new Uint8Array(0);

/** A copy of the bytes in memory of their own. */
export const own = (bytes: Uint8Array): Uint8Array => (bytes.length === 0 ? NONE : new Uint8Array(bytes));

/** Fixed cost of keeping one, beside its bytes. */
const OVERHEAD_BYTES = 128;

export const bytesOf = (message: Message): number =>
  message.payload.length + message.properties.length + message.topic.length + OVERHEAD_BYTES;

export const isExpired = (message: Message, nowMs: number): boolean =>
  message.expiresMs !== 0 && message.expiresMs <= nowMs;
