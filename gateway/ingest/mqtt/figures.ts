// What the MQTT adapter counts, for the status and the metrics. Counts run from the start.

export interface MqttFigures {
  readonly connections: number;
  /** Publishes and wills refused; before MQTT 5 a refused publish closes its connection. */
  readonly refused: number;
  /** Connections refused: not allowed, a bad client id, too many. */
  readonly connectionsRefused: number;
  /** Connections closed for bytes that MQTT does not allow. */
  readonly malformed: number;
  /** Connections closed for keeping still: no CONNECT, no keep alive, a subscriber that takes nothing. */
  readonly timeouts: number;
  /** QoS 0 messages not forwarded to a subscriber that lags. */
  readonly forwardDropped: number;
  readonly retained: number;
  readonly retainedRefused: number;
  /** Messages kept for clients: waiting, or sent and not acknowledged. */
  readonly queued: number;
  readonly queueRefused: number;
  /** Messages whose expiry came before their client did. */
  readonly queueExpired: number;
  /** Sessions that outlive their connection. */
  readonly sessions: number;
  readonly subscriptions: number;
  /** Changes of sessions and retained messages not yet on disk. */
  readonly storeWaiting: number;
  readonly storeFailures: number;
}
