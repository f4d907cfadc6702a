// Owns the role every protocol's client plays for a simulated device. Repeats nothing: that is the outbox's part.

/** `mqtt` is 3.1.1, `line` is InfluxDB line protocol over HTTP, `sparkplug` Sparkplug B over MQTT 3.1.1. */
export const PROTOCOLS = ['mqtt', 'mqtt5', 'http', 'websocket', 'sparkplug', 'line'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

export interface Message {
  readonly topic: string;
  /** Text, JSON but for line protocol. */
  readonly payload: string;
}

export type Outcome =
  /** The gateway said: on disk. `duplicate`: it had been stored by an earlier send whose answer got lost. */
  | {
      readonly kind: 'acked';
      readonly duplicate: boolean;
      /** What was stored, where the client made other bytes of the message. */
      readonly stored?: { readonly topic: string; readonly payload: Uint8Array };
    }
  /** Never to be accepted: repeating it would not help. */
  | { readonly kind: 'refused'; readonly code: string; readonly detail: string }
  /** Not now. */
  | { readonly kind: 'busy'; readonly code: string; readonly retryAfterMs: number }
  /** No answer, and none will come: it may be stored or not, so it must be sent again. */
  | { readonly kind: 'lost'; readonly detail: string };

export interface Client {
  /** Connects. Rejects when the gateway cannot be reached, or `signal` is aborted meanwhile. */
  open(signal: AbortSignal): Promise<void>;
  /** Called when an open connection ends, where the protocol has connections. */
  onLost?: ((detail: string) => void) | null;
  /** Messages that the gateway lets a connection have unanswered, once open; without it, any number. */
  readonly maxInFlight?: number;
  /** Sends one message; never rejects. Messages go out in call order. */
  send(message: Message): Promise<Outcome>;
  /** Drops the connection at once; what has no answer yet is lost. May be called at any time, more than once. */
  close(): Promise<void>;
}

export interface Endpoints {
  /** mqtt://host:1883 */
  readonly mqttUrl: string;
  /** http://host:8080 */
  readonly httpUrl: string;
  /** ws://host:8080/ws */
  readonly wsUrl: string;
  /** mqtts://host:8883, where a fleet uses TLS, and the PEM of the authority its certificate is from. */
  readonly mqttsUrl?: string;
  readonly ca?: string;
}
