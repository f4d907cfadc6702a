// The kernel's own account that an ack means "on disk": under strace, fdatasync on the segment returns before the
// PUBACK (and the HTTP 202, and the WebSocket ack) is written to the socket.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { ended, startGateway } from '../support/processes.ts';

const strace = spawnSync('strace', ['-V']).status === 0;

/** Calls in the order in which they began or, for fdatasync, ended. */
interface Call {
  kind: 'record written' | 'sync done' | 'ack sent';
  line: string;
}

function callsOf(trace: string, marker: string, ack: RegExp): Call[] {
  const calls: Call[] = [];
  for (const line of trace.split('\n')) {
    if (/(pwrite64|pwritev2?|write|writev)\(/.test(line) && line.includes(marker) && /\.log>/.test(line))
      calls.push({ kind: 'record written', line });
    else if (/fdatasync(\(.*\.log>\)| resumed>\)|.*resumed>.*) += 0/.test(line))
      calls.push({ kind: 'sync done', line });
    else if (/(write|writev|sendto|sendmsg)\(/.test(line) && /(TCP|socket)/.test(line) && ack.test(line))
      calls.push({ kind: 'ack sent', line });
  }
  return calls;
}

const PROTOCOLS: {
  name: string;
  marker: string;
  ack: RegExp;
  send: (ports: { mqttPort: number; httpPort: number }) => Promise<void>;
}[] = [
  {
    name: 'MQTT PUBACK',
    marker: 'marker-mqtt',
    // 0x40 0x02: fixed header of PUBACK, in one piece or as a vector
    ack: /"@\\2|iov_base="@"/,
    send: async ({ mqttPort }) => {
      execFileSync('mosquitto_pub', [
        '-p',
        String(mqttPort),
        '-q',
        '1',
        '-t',
        'plant/p-1/v',
        '-m',
        'marker-mqtt',
      ]);
    },
  },
  {
    name: 'HTTP 202',
    marker: 'marker-http',
    ack: /HTTP\/1\.1 202/,
    send: async ({ httpPort }) => {
      execFileSync('curl', [
        '-s',
        '--data',
        'marker-http',
        '-H',
        'content-type: text/plain',
        `http://127.0.0.1:${httpPort}/api/v1/ingest/plant/p-2/v`,
      ]);
    },
  },
  {
    name: 'WebSocket ack',
    marker: 'marker-websocket',
    ack: /\\"ack\\":/,
    send: async ({ httpPort }) => {
      const socket = new WebSocket(`ws://127.0.0.1:${httpPort}/ws`);
      await new Promise((resolve, reject) => {
        socket.once('open', () => socket.send('{"id":1,"topic":"plant/p-3/v","payload":"marker-websocket"}'));
        socket.once('message', resolve);
        socket.once('error', reject);
      });
      socket.close();
    },
  },
];

test.skipIf(!strace)(
  'under strace, fdatasync returns before any ack leaves (skipped where strace is not installed)',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-strace-'));
    const traceFile = join(folder, 'trace');
    const gateway = await startGateway({
      dataDir: join(folder, 'data'),
      yaml: 'windows: []\nmodels: []\n',
      wrapper: [
        'strace',
        '-f',
        '-yy',
        '-s',
        '400',
        '-e',
        'trace=pwrite64,pwritev,pwritev2,fdatasync,write,writev,sendto,sendmsg',
        '-o',
        traceFile,
      ],
    });
    try {
      for (const protocol of PROTOCOLS) await protocol.send(gateway);
      // The gateway is strace's only child: end that one, and strace ends with it.
      const children = readFileSync(
        `/proc/${gateway.child.pid}/task/${gateway.child.pid}/children`,
        'utf8',
      ).trim();
      process.kill(Number(children), 'SIGTERM');
      await ended(gateway.child);
      const trace = readFileSync(traceFile, 'utf8');
      for (const { name, marker, ack } of PROTOCOLS) {
        const calls = callsOf(trace, marker, ack);
        const written = calls.findIndex((call) => call.kind === 'record written');
        expect(written, `${name}: the record's write to the segment is in the trace`).toBeGreaterThanOrEqual(
          0,
        );
        const after = calls.slice(written + 1).map((call) => call.kind);
        expect(after[0], `${name}: the next of (sync, ack) after the write`).toBe('sync done');
        expect(after, `${name}: the ack is sent after that`).toContain('ack sent');
      }
    } finally {
      await gateway.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  },
  60_000,
);
