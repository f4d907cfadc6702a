// A small MQTT broker on a free loopback port (3.1.1 and 5), standing for the central cluster that the demo's forwarder
// sends to. Acknowledges, and passes on to whoever has subscribed, with QoS 0; keeps nothing.
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { generate, type Packet, parser } from 'mqtt-packet';

export interface CentralBroker {
  /** mqtt://127.0.0.1:<port> */
  readonly url: string;
  close(): Promise<void>;
}

interface Client {
  readonly socket: Socket;
  version: 3 | 4 | 5;
  readonly filters: Set<string>;
}

const MAX_WAITING_BYTES = 1024 * 1024;

export async function startCentralBroker(): Promise<CentralBroker> {
  const clients = new Set<Client>();
  const server = createServer((socket) => serve(socket, clients));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const { socket } of clients) socket.destroy();
      await closed;
    },
  };
}

function serve(socket: Socket, clients: Set<Client>): void {
  const client: Client = { socket, version: 4, filters: new Set() };
  clients.add(client);
  const packets = parser();
  packets.on('packet', (packet) => answer(client, packet, clients));
  // What cannot be read ends the connection.
  packets.on('error', () => socket.destroy());
  socket.on('data', (bytes) => packets.parse(bytes));
  socket.on('error', () => {});
  socket.on('close', () => clients.delete(client));
}

function answer(client: Client, packet: Packet, clients: ReadonlySet<Client>): void {
  const { socket } = client;
  const send = (one: Packet) => socket.write(generate(one, { protocolVersion: client.version }));
  switch (packet.cmd) {
    case 'connect':
      client.version = packet.protocolVersion ?? 4;
      send({ cmd: 'connack', sessionPresent: false, returnCode: 0, reasonCode: 0 });
      return;
    case 'publish':
      for (const other of clients) passOn(other, packet.topic, packet.payload);
      if (packet.qos > 0)
        send({ cmd: packet.qos === 1 ? 'puback' : 'pubrec', messageId: packet.messageId!, reasonCode: 0 });
      return;
    case 'pubrel':
      send({ cmd: 'pubcomp', messageId: packet.messageId!, reasonCode: 0 });
      return;
    case 'subscribe':
      for (const { topic } of packet.subscriptions) client.filters.add(topic);
      send({ cmd: 'suback', messageId: packet.messageId!, granted: packet.subscriptions.map(() => 0) });
      return;
    case 'unsubscribe':
      for (const topic of packet.unsubscriptions) client.filters.delete(topic);
      send({ cmd: 'unsuback', messageId: packet.messageId!, granted: packet.unsubscriptions.map(() => 0) });
      return;
    case 'pingreq':
      send({ cmd: 'pingresp' });
      return;
    default:
      socket.end();
  }
}

/** One that does not keep up misses messages. */
function passOn({ socket, version, filters }: Client, topic: string, payload: string | Buffer): void {
  if (socket.writableLength > MAX_WAITING_BYTES || ![...filters].some((filter) => fits(filter, topic)))
    return;
  const message: Packet = { cmd: 'publish', topic, payload, qos: 0, retain: false, dup: false };
  socket.write(generate(message, { protocolVersion: version }));
}

function fits(filter: string, topic: string): boolean {
  const wanted = filter.split('/');
  const levels = topic.split('/');
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false;
  for (const [at, level] of wanted.entries()) {
    if (level === '#') return true;
    if (level !== '+' && level !== levels[at]) return false;
    if (at >= levels.length) return false;
  }
  return wanted.length === levels.length;
}
