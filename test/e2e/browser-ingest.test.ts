// A page in a real browser sends records: by fetch, by WebSocket and by MQTT over WebSocket (mqtt.js as it is published for
// browsers), from the gateway's own origin; one of another origin gets nothing stored.

import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { launch, noBrowser } from '../gateway/dashboard/browser.ts';
import { startGateway } from '../support/processes.ts';

/** Runs in the page. Resolves with what the gateway said. */
async function sendFrom(base: string): Promise<unknown[]> {
  const heard: unknown[] = [];
  const posted = await fetch(`${base}/api/v1/ingest/plant/page/fetch`, {
    method: 'POST',
    headers: { 'content-type': 'text/plain' },
    body: '"by fetch"',
  }).then(
    async (response) => [response.status, await response.text()],
    () => ['failed', ''],
  );
  heard.push(...posted);
  const socket = new WebSocket(`${base.replace('http', 'ws')}/ws`);
  await new Promise<void>((resolve) => {
    socket.onopen = () => {
      socket.send(JSON.stringify({ hello: { session: 'page' } }));
      socket.send(JSON.stringify({ id: 1, topic: 'plant/page/socket', payload: 'by socket' }));
    };
    socket.onmessage = ({ data }) => {
      const answer = JSON.parse(data) as { acked?: number };
      if (answer.acked !== 1) return;
      heard.push('acked');
      resolve();
    };
    socket.onerror = () => resolve();
  });
  socket.close();
  return heard;
}

interface PageMqtt {
  connect(
    url: string,
    options: object,
  ): {
    on(event: 'connect' | 'error' | 'close', listener: () => void): void;
    publish(topic: string, payload: string, options: object, done: (error?: Error) => void): void;
    end(force: boolean): void;
  };
}

/** Runs in the page, where mqtt.js stands as `mqtt`. */
async function publishFrom(base: string): Promise<string> {
  const { mqtt } = globalThis as unknown as { mqtt: PageMqtt };
  const client = mqtt.connect(`${base.replace('http', 'ws')}/mqtt`, {
    protocolVersion: 5,
    clientId: 'page',
    reconnectPeriod: 0,
  });
  const fate = await new Promise<string>((resolve) => {
    client.on('connect', () =>
      client.publish('plant/page/mqtt', '"by MQTT"', { qos: 1 }, (error) =>
        resolve(error ? 'failed' : 'acked'),
      ),
    );
    client.on('error', () => resolve('failed'));
    client.on('close', () => resolve('failed'));
  });
  client.end(true);
  return fate;
}

const MQTT_JS = `${readFileSync(createRequire(import.meta.url).resolve('mqtt/dist/mqtt.min'), 'utf8')}
globalThis.mqtt = mqtt.default ?? mqtt;`;

test.skipIf(noBrowser !== null)(
  'a page sends by fetch, WebSocket and MQTT over WebSocket; one of another origin cannot',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-page-'));
    const gateway = await startGateway({ dataDir: join(folder, 'data'), yaml: 'windows: []\nmodels: []\n' });
    const foreign = createServer((_, response) => response.end('another page')).listen(0, '127.0.0.1');
    await once(foreign, 'listening');
    const browser = await launch();
    try {
      const page = await browser.newPage();
      await page.goto(`${gateway.url}/healthz`);
      expect(await page.evaluate(sendFrom, gateway.url)).toEqual([202, '{"offset":0}', 'acked']);
      await page.evaluate(MQTT_JS);
      expect(await page.evaluate(publishFrom, gateway.url)).toBe('acked');
      await page.goto(`http://127.0.0.1:${(foreign.address() as AddressInfo).port}/`);
      expect(await page.evaluate(sendFrom, gateway.url)).toEqual(['failed', '']);
      await page.evaluate(MQTT_JS);
      expect(await page.evaluate(publishFrom, gateway.url)).toBe('failed');
      const { records } = (await (await fetch(`${gateway.url}/api/v1/records`)).json()) as {
        records: { topic: string }[];
      };
      const sent = records.filter(({ topic }) => topic.startsWith('plant/page/'));
      expect(sent.map(({ topic }) => topic)).toEqual([
        'plant/page/fetch',
        'plant/page/socket',
        'plant/page/mqtt',
      ]);
    } finally {
      await browser.close();
      foreign.close();
      await gateway.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
