// Owns choosing the client for a protocol.
import type { Client, Endpoints, Protocol } from './client.ts';
import { HttpDevice } from './http.ts';
import { MqttDevice } from './mqtt.ts';
import { WebSocketDevice } from './websocket.ts';

/** How many records a device of this protocol may have unanswered. HTTP has no order across requests, so one. */
export const WINDOW: Readonly<Record<Protocol, number>> = { mqtt: 64, http: 1, websocket: 64 };

export function clientFor(protocol: Protocol, endpoints: Endpoints, clientId: string): Client {
  switch (protocol) {
    case 'mqtt':
      return new MqttDevice(endpoints.mqttUrl, clientId);
    case 'http':
      return new HttpDevice(endpoints.httpUrl);
    case 'websocket':
      return new WebSocketDevice(endpoints.wsUrl);
  }
}
