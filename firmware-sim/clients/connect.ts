// Owns choosing the client for a protocol.
import type { Client, Endpoints, Protocol } from './client.ts';
import { HttpDevice } from './http.ts';
import { LineDevice } from './line.ts';
import { MqttDevice } from './mqtt.ts';
import { SparkplugDevice } from './sparkplug.ts';
import { WebSocketDevice } from './websocket.ts';

/** How many records a device of this protocol may have unanswered. HTTP has no order across requests, so one. */
export const WINDOW: Readonly<Record<Protocol, number>> = {
  mqtt: 64,
  mqtt5: 64,
  http: 1,
  websocket: 64,
  sparkplug: 64,
  line: 1,
};

export function clientFor(protocol: Protocol, endpoints: Endpoints, clientId: string, tls = false): Client {
  const url = tls ? endpoints.mqttsUrl : endpoints.mqttUrl;
  if (url === undefined) throw new RangeError('a fleet uses TLS, and no mqtts:// address is given');
  const mqtt = { url, clientId, ca: endpoints.ca };
  switch (protocol) {
    case 'mqtt':
      return new MqttDevice({ ...mqtt, version: 4 });
    case 'mqtt5':
      return new MqttDevice({ ...mqtt, version: 5 });
    case 'http':
      return new HttpDevice(endpoints.httpUrl);
    case 'websocket':
      return new WebSocketDevice(endpoints.wsUrl);
    case 'sparkplug':
      return new SparkplugDevice(mqtt);
    case 'line':
      return new LineDevice(endpoints.httpUrl);
  }
}
