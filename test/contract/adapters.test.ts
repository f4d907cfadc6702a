// The contract of adapters, run on each of them through clients of other makers where there are any.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import mqtt from 'mqtt';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { anonymousAccess } from '../../gateway/access/anonymous.ts';
import { CallerGuard } from '../../gateway/ingest/caller.ts';
import { Door } from '../../gateway/ingest/door.ts';
import { httpIngestConfigSchema } from '../../gateway/ingest/http/config.ts';
import { HttpIngest } from '../../gateway/ingest/http/ingest.ts';
import { attachWebSocket } from '../../gateway/ingest/websocket/attach.ts';
import { webSocketConfigSchema } from '../../gateway/ingest/websocket/config.ts';
import type { Harness } from '../gateway/admission/harness.ts';
import { serve as serveMqtt } from '../gateway/ingest/mqtt/serve.ts';
import { type AdapterClient, adapterContract, cells, type Fate, OWED, type ServeAdapter } from './adapter.ts';

const door = () => new Door(anonymousAccess, new CallerGuard({ host: '127.0.0.1', allowedHosts: [] }));

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function end(server: Server): Promise<void> {
  server.close();
  server.closeAllConnections();
}

// ---- MQTT

async function mqttClient(options: mqtt.IClientOptions): Promise<AdapterClient> {
  const client = await mqtt.connectAsync({ ...options, reconnectPeriod: 0, clean: true });
  client.on('error', () => {});
  const closed = new Promise<Fate>((resolve) => client.once('close', () => resolve('refused')));
  return {
    send: (topic, payload) =>
      Promise.race([
        closed,
        client.publishAsync(topic, payload, { qos: 1 }).then(
          (): Fate => 'acked',
          (): Fate => 'refused',
        ),
      ]),
    close: () => client.endAsync(true),
  };
}

const SHORT_HOLD = { overloadHoldMs: 200 };

const overTcp =
  (protocolVersion: 4 | 5): ServeAdapter =>
  async (harness) => {
    const server = await serveMqtt(harness, SHORT_HOLD);
    return {
      connect: (clientId) => mqttClient({ port: server.port, host: '127.0.0.1', clientId, protocolVersion }),
      close: () => server.close(),
    };
  };

const overHttpPort: ServeAdapter = async (harness) => {
  const broker = await serveMqtt(harness, SHORT_HOLD);
  const http = createServer();
  broker.attach(http);
  const port = await listen(http);
  return {
    connect: (clientId) => mqttClient({ protocol: 'ws', host: '127.0.0.1', port, path: '/mqtt', clientId }),
    close: async () => {
      await broker.close();
      await end(http);
    },
  };
};

adapterContract('MQTT 3.1.1', overTcp(4));
adapterContract('MQTT 5', overTcp(5));
adapterContract('MQTT over WebSocket', overHttpPort);

// ---- HTTP

type Post = (base: string, topic: string, payload: Buffer) => Promise<Response>;

const overHttp =
  (post: Post): ServeAdapter =>
  async (harness: Harness) => {
    const { admission, config, lines } = harness;
    const http = httpIngestConfigSchema.parse({});
    const ingest = new HttpIngest({
      admission,
      config,
      http,
      door: door(),
      logger: lines,
      isReady: () => true,
    });
    const server = createServer((request, response) => ingest.handle(request, response));
    const base = `http://127.0.0.1:${await listen(server)}`;
    return {
      connect: async () => ({
        send: async (topic, payload) => {
          const response = await post(base, topic, payload);
          await response.arrayBuffer();
          return response.ok ? 'acked' : 'refused';
        },
        close: async () => {},
      }),
      close: async () => {
        await ingest.close();
        await end(server);
      },
    };
  };

const send =
  (type: string): Post =>
  (base, topic, payload) =>
    fetch(`${base}/api/v1/ingest/${encodeURIComponent(topic)}`, {
      method: 'POST',
      headers: { 'content-type': type },
      body: new Uint8Array(payload),
    });

adapterContract('HTTP', overHttp(send('application/json')));
adapterContract('HTTP, NDJSON', overHttp(send('application/x-ndjson')));

// ---- WebSocket

const overWebSocket =
  (session: boolean): ServeAdapter =>
  async ({ admission, lines }) => {
    const server = createServer();
    const config = webSocketConfigSchema.parse({});
    const ingest = attachWebSocket(server, { path: '/ws', admission, config, door: door(), logger: lines });
    const url = `ws://127.0.0.1:${await listen(server)}/ws`;
    return {
      connect: () => webSocketClient(url, session),
      close: async () => {
        await ingest.close();
        await end(server);
      },
    };
  };

interface Heard {
  readonly id?: number;
  readonly ack?: number;
  readonly acked?: number;
  readonly error?: object;
}

async function webSocketClient(url: string, session: boolean): Promise<AdapterClient> {
  const socket = new WebSocket(url);
  await once(socket, 'open');
  if (session) {
    socket.send('{"hello":{}}');
    await once(socket, 'message');
  }
  const waiting = new Map<number, (fate: Fate) => void>();
  const settle = (id: number, fate: Fate) => {
    waiting.get(id)?.(fate);
    waiting.delete(id);
  };
  socket.on('message', (data) => {
    const { id, ack, acked, error } = JSON.parse(String(data)) as Heard;
    if (error !== undefined) settle(id!, 'refused');
    else if (ack !== undefined) settle(ack, 'acked');
    else for (const known of [...waiting.keys()]) if (known <= acked!) settle(known, 'acked');
  });
  socket.on('close', () => {
    for (const id of [...waiting.keys()]) settle(id, 'refused');
  });
  let last = 0;
  return {
    send: (topic, payload) =>
      new Promise((resolve) => {
        last += 1;
        waiting.set(last, resolve);
        socket.send(`{"id":${last},"topic":${JSON.stringify(topic)},"payload":${payload.toString()}}`);
      }),
    close: async () => socket.terminate(),
  };
}

adapterContract('WebSocket', overWebSocket(false));
adapterContract('WebSocket, in a session', overWebSocket(true));

// ---- the table

const ADAPTERS = [
  'MQTT 3.1.1',
  'MQTT 5',
  'MQTT over WebSocket',
  'HTTP',
  'HTTP, NDJSON',
  'WebSocket',
  'WebSocket, in a session',
];

test('the table has a test in every cell: each adapter by what it owes', () => {
  const wanted = ADAPTERS.flatMap((adapter) => OWED.map((owed) => `${adapter}: ${owed}`));
  expect([...cells].toSorted()).toEqual(wanted.toSorted());
});
