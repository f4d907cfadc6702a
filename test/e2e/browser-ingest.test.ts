// A page in a real browser sends records: by fetch and by WebSocket, from the gateway's own origin; one of another origin
// gets nothing stored.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
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

test.skipIf(noBrowser !== null)(
  'a page sends by fetch and WebSocket; one of another origin cannot',
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
      await page.goto(`http://127.0.0.1:${(foreign.address() as AddressInfo).port}/`);
      expect(await page.evaluate(sendFrom, gateway.url)).toEqual(['failed', '']);
      const { records } = (await (await fetch(`${gateway.url}/api/v1/records`)).json()) as {
        records: { topic: string }[];
      };
      const sent = records.filter(({ topic }) => topic.startsWith('plant/page/'));
      expect(sent.map(({ topic }) => topic)).toEqual(['plant/page/fetch', 'plant/page/socket']);
    } finally {
      await browser.close();
      foreign.close();
      await gateway.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
