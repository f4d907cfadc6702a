// Access to a real gateway process by real clients: mosquitto's over TCP and TLS, curl, mqtt.js, the command line.
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { authority, certificate, noOpenssl, type Pair } from '../gateway/access/certificates.ts';
import { freePort, type Gateway, startGateway, tidemark } from '../support/processes.ts';

const isThere = (command: string) => spawnSync(command, ['--help'], { stdio: 'ignore' }).error === undefined;
const missing = noOpenssl ?? ['mosquitto_pub', 'curl'].find((command) => !isThere(command)) ?? null;
if (missing !== null) console.log(`access tests are skipped: ${missing}`);

/** An address of this machine that is not loopback; connections to it come from it. */
const OUTSIDE = Object.values(networkInterfaces())
  .flat()
  .find((address) => address?.family === 'IPv4' && !address.internal)?.address;
const WAIT = { timeout: 30_000, interval: 50 };

interface RecordJson {
  readonly topic: string;
  readonly device: string;
  readonly source: number;
  readonly payload: string;
}

describe.skipIf(missing !== null)('access', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-access-e2e-'));
  const dataDir = join(folder, 'data');
  const file = `${dataDir}.yaml`;
  const secrets: string[] = [];
  let gateway: Gateway;
  let tlsPort: number;
  let ca: Pair;
  let adminToken: string;
  let everything = '';

  const tls = join(folder, 'server');
  const putCertificate = (pair: Pair) => {
    copyFileSync(pair.cert, `${tls}.crt`);
    copyFileSync(pair.key, `${tls}.key`);
  };
  const start = async () => {
    gateway = await startGateway({
      dataDir,
      yaml: [
        'mqtt:',
        '  host: 0.0.0.0',
        `  tls: {enabled: true, port: ${tlsPort}, cert: server.crt, key: server.key, ca: ca.crt, clientCertificates: request}`,
        'http: {host: 0.0.0.0}',
      ].join('\n'),
    });
  };
  const stop = async (signal: NodeJS.Signals) => {
    await gateway.kill(signal);
    everything += gateway.output();
  };

  beforeAll(async () => {
    tlsPort = await freePort();
    ca = authority(folder, 'ca');
    putCertificate(certificate(folder, 'localhost', ca, { file: 'first' }));
    await start();
    await vi.waitFor(() => expect(gateway.output()).toMatch(/admin token/), WAIT);
    adminToken = /tm_[\w-]{43}/.exec(gateway.output())![0];
    secrets.push(adminToken);
  }, 120_000);

  afterAll(async () => {
    await gateway.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  /** Its secret; kept, to be looked for in what the gateway writes. */
  async function issue(...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await tidemark([...words, '--config', file, '--json']);
    expect([code, stderr]).toEqual([0, '']);
    const { secret } = JSON.parse(stdout) as { secret: string };
    secrets.push(secret);
    return secret;
  }
  const cli = (...words: string[]) => tidemark([...words, '--config', file]);
  const publish = (words: readonly string[], topic: string) =>
    spawnSync('mosquitto_pub', ['-q', '1', '-t', topic, '-m', '{"value":1}', ...words], { timeout: 60_000 })
      .status;
  const plain = (host = '127.0.0.1') => ['-h', host, '-p', String(gateway.mqttPort)];
  const curl = (path: string, ...words: string[]) => {
    const { stdout } = spawnSync('curl', ['-s', '-w', '\n%{http_code}', ...words, `${gateway.url}${path}`], {
      timeout: 60_000,
    });
    const lines = stdout.toString().split('\n');
    return { status: Number(lines.at(-1)), body: lines.slice(0, -1).join('\n') };
  };
  const bearer = (token: string) => ['-H', `Authorization: Bearer ${token}`];
  const records = async (topic: string): Promise<RecordJson[]> => {
    const response = await fetch(
      `${gateway.url}/api/v1/records?limit=1000&topic=${encodeURIComponent(topic)}`,
      {
        headers: { authorization: `Bearer ${adminToken}` },
      },
    );
    return ((await response.json()) as { records: RecordJson[] }).records;
  };
  const acts = async (act: string) =>
    (await records(`$tidemark/admin/${act}`)).map(({ payload, source }) => ({
      source,
      ...(JSON.parse(Buffer.from(payload, 'base64').toString()) as object),
    }));

  test('a device comes in by its password, as itself, and nowhere else', async () => {
    const password = await issue('device', 'add', 'pump-1');
    const as = (name: string, secret: string) => [...plain(), '-u', name, '-P', secret, '-i', 'whatever'];
    expect(publish(as('pump-1', password), 'plant/pump-1/level')).toBe(0);
    expect(publish(as('pump-1', 'wrong'), 'plant/pump-1/level')).not.toBe(0);
    expect(publish(as('pump-9', password), 'plant/pump-9/level')).not.toBe(0);
    // By MQTT 5 it is told why; mosquitto's client then says so and ends with 0.
    publish([...as('pump-1', password), '-V', '5'], 'plant/pump-2/level');
    expect((await records('plant/pump-1/level')).map(({ device }) => device)).toEqual(['pump-1']);
    expect(await records('plant/pump-2/level')).toEqual([]);
    // The same by HTTP; what the request says of the device does not count.
    const body = ['-u', `pump-1:${password}`, '--json', '{"value":2}', '-H', 'Tidemark-Device: pump-2'];
    expect(curl('/api/v1/ingest/x/pump-1/level', ...body).status).toBe(202);
    expect(curl('/api/v1/ingest/x/pump-2/level', ...body).status).toBe(403);
    expect((await records('x/pump-1/level')).map(({ device }) => device)).toEqual(['pump-1']);
    expect(await acts('principal-added')).toEqual([
      expect.objectContaining({ source: 6, by: 'local', name: 'pump-1', role: 'device', kind: 'password' }),
    ]);
  }, 120_000);

  test('rights: who may read, prove and administer', async () => {
    const auditor = await issue('token', 'add', 'audrey', '--role', 'auditor');
    const device = await issue('device', 'add', 'sender', '--bearer');
    const added = ['--json', '{"name":"by-http","secret":"token"}'];
    expect(curl('/api/v1/status', ...bearer(auditor)).status).toBe(200);
    expect(curl('/api/v1/records/0/proof', ...bearer(auditor)).status).not.toBe(403);
    expect(curl('/ledger/checkpoint', ...bearer(auditor)).status).toBe(200);
    expect(curl('/api/v1/admin/add', ...bearer(auditor), ...added).status).toBe(403);
    expect(curl('/api/v1/ingest/plant/sender/x', ...bearer(auditor), '--json', '1').status).toBe(403);
    expect(curl('/api/v1/ingest/plant/sender/x', ...bearer(device), '--json', '1').status).toBe(202);
    for (const path of [
      '/api/v1/status',
      '/api/v1/tail',
      '/ledger/checkpoint',
      '/metrics',
      '/api/v1/admin/principals',
    ])
      expect([path, curl(path, ...bearer(device)).status]).toEqual([path, 403]);
    expect(curl('/api/v1/status', ...bearer('tm_wrong'))).toMatchObject({
      status: 401,
      body: expect.stringContaining('bad-credentials'),
    });
    // This machine may read without a name, and administer nothing.
    expect(curl('/api/v1/status').status).toBe(200);
    expect(curl('/api/v1/admin/add', ...added).status).toBe(403);
    const { status, body } = curl('/api/v1/admin/add', ...bearer(adminToken), ...added);
    expect(status).toBe(200);
    secrets.push((JSON.parse(body) as { secret: string }).secret);
    expect(await acts('principal-added')).toContainEqual(
      expect.objectContaining({ by: 'admin', name: 'by-http' }),
    );
  }, 120_000);

  test.skipIf(OUTSIDE === undefined)(
    'without a name nobody comes from elsewhere; with one they do',
    async () => {
      const password = await issue('device', 'add', 'far-1');
      const url = `http://${OUTSIDE}:${gateway.httpPort}`;
      expect(publish(plain(OUTSIDE), 'plant/far-1/x')).not.toBe(0);
      expect(publish([...plain(OUTSIDE), '-u', 'far-1', '-P', password], 'plant/far-1/x')).toBe(0);
      const status = async (path: string, headers: Record<string, string> = {}, method = 'GET') =>
        (await fetch(`${url}${path}`, { method, headers, ...(method === 'POST' ? { body: '1' } : {}) }))
          .status;
      expect(await status('/api/v1/status')).toBe(401);
      expect(await status('/metrics')).toBe(401);
      expect(await status('/api/v1/ingest/plant/far-1/x', {}, 'POST')).toBe(401);
      expect(await status('/healthz')).toBe(200);
      expect(await status('/api/v1/status', { authorization: `Bearer ${adminToken}` })).toBe(200);
      const basic = `Basic ${Buffer.from(`far-1:${password}`).toString('base64')}`;
      expect(await status('/api/v1/ingest/plant/far-1/x', { authorization: basic }, 'POST')).toBe(202);
      expect(await records('plant/far-1/x')).toHaveLength(2);
    },
    60_000,
  );

  test('a client certificate is a name; one of another authority is none', async () => {
    await cli('device', 'add', 'cert-1', '--certificate');
    const good = certificate(folder, 'cert-1', ca);
    const unknown = certificate(folder, 'cert-2', ca);
    const as = (pair: Pair) => [
      ...['-h', 'localhost', '-p', String(tlsPort), '--cafile', ca.cert],
      ...['--cert', pair.cert, '--key', pair.key],
    ];
    expect(publish(as(good), 'plant/cert-1/x')).toBe(0);
    expect(publish(as(good), 'plant/cert-2/x')).not.toBe(0);
    expect(publish(as(unknown), 'plant/cert-2/x')).not.toBe(0);
    expect((await records('plant/cert-1/x')).map(({ device }) => device)).toEqual(['cert-1']);
    expect((await cli('device', 'revoke', 'cert-1')).code).toBe(0);
    expect(publish(as(good), 'plant/cert-1/x')).not.toBe(0);
  }, 120_000);

  test('revoking closes live connections and streams', async () => {
    const password = await issue('device', 'add', 'doomed');
    const reader = await issue('token', 'add', 'watcher', '--role', 'operator');
    const stays = await issue('device', 'add', 'stays');
    const options = { port: gateway.mqttPort, reconnectPeriod: 0, protocolVersion: 5 } as const;
    const doomed = await mqtt.connectAsync({ ...options, username: 'doomed', password });
    const other = await mqtt.connectAsync({ ...options, username: 'stays', password: stays });
    const tail = await fetch(`${gateway.url}/api/v1/tail`, {
      headers: { authorization: `Bearer ${reader}` },
    });
    expect(tail.status).toBe(200);
    await doomed.publishAsync('plant/doomed/x', '1', { qos: 1 });
    const closed = new Promise((resolve) => doomed.once('close', () => resolve(null)));
    expect((await cli('device', 'revoke', 'doomed')).code).toBe(0);
    expect((await cli('device', 'revoke', 'watcher')).code).toBe(0);
    await closed;
    // Reads to its end: the gateway has ended it.
    await tail.text();
    await expect(mqtt.connectAsync({ ...options, username: 'doomed', password })).rejects.toThrow();
    await other.publishAsync('plant/stays/x', '1', { qos: 1 });
    await other.endAsync();
    doomed.end(true);
  }, 120_000);

  test('a renewed certificate and changed rights count at once, and an open connection goes on', async () => {
    const password = await issue('device', 'add', 'long-1');
    const secure = await mqtt.connectAsync({
      ...{ host: 'localhost', port: tlsPort, protocol: 'mqtts' },
      ...{ ca: readFileSync(ca.cert), username: 'long-1', password, reconnectPeriod: 0 },
    });
    let closed = false;
    secure.on('close', () => {
      closed = true;
    });
    await secure.publishAsync('plant/long-1/x', '1', { qos: 1 });
    const subjectOf = () =>
      spawnSync('openssl', ['s_client', '-connect', `localhost:${tlsPort}`, '-servername', 'localhost'], {
        input: '',
        timeout: 60_000,
      })
        .stdout.toString()
        .split(/-----(?:BEGIN|END) CERTIFICATE-----/)[1];
    const before = subjectOf();

    // A pair that does not fit, and a value that is none: nothing changes, and each is named.
    putCertificate({ cert: join(folder, 'first.crt'), key: ca.key });
    const mismatch = await cli('config', 'apply');
    expect([mismatch.code, mismatch.stderr]).toEqual([
      2,
      expect.stringContaining('is not the one of the certificate'),
    ]);
    const good = readFileSync(file, 'utf8');
    appendFileSync(file, 'access: {anonymous: nobody}\n');
    const logged = gateway.output().length;
    gateway.child.kill('SIGHUP');
    await expect.poll(() => gateway.output().slice(logged), WAIT).toContain('access.anonymous');
    expect(gateway.output().slice(logged)).toMatch(/yaml:\d+:\d+: access.anonymous/);
    expect(curl('/api/v1/status').status).toBe(200);
    expect(subjectOf()).toBe(before);

    putCertificate(certificate(folder, 'localhost', ca, { file: 'second' }));
    writeFileSync(
      file,
      `${good}access: {anonymous: "off", roles: {device: {publish: ["plant/%device%/#", "new/%device%"]}}}\nlog: {segmentAgeMs: 1800000}\n`,
    );
    const { code, stdout } = await cli('config', 'apply', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      applied: [
        'access.anonymous',
        'access.roles.device.publish',
        expect.stringMatching(/^mqtt\.tls \(certificate/),
      ],
      restart: ['log.segmentAgeMs'],
    });
    expect(subjectOf()).not.toBe(before);
    expect(curl('/api/v1/status').status).toBe(401);
    expect(curl('/api/v1/status', ...bearer(adminToken)).status).toBe(200);
    const key = /"verifierKey":"([^"]+)"/.exec(gateway.output())![1]!;
    expect((await tidemark(['audit', gateway.url, '--key', key])).stderr).toContain('TIDEMARK_TOKEN');
    process.env.TIDEMARK_TOKEN = adminToken;
    const audit = await tidemark(['audit', gateway.url, '--key', key]);
    delete process.env.TIDEMARK_TOKEN;
    expect([audit.code, audit.stderr]).toEqual([0, '']);
    await secure.publishAsync('new/long-1', '1', { qos: 1 });
    expect(closed).toBe(false);
    await secure.endAsync();
    expect(await acts('configuration-applied')).toEqual([
      expect.objectContaining({ by: 'local', restart: ['log.segmentAgeMs'] }),
    ]);
  }, 120_000);

  test('a fleet is imported; its secrets are in a file for its owner only', async () => {
    const list = join(folder, 'fleet.csv');
    const out = join(folder, 'secrets.csv');
    writeFileSync(list, 'name,secret,publish\nf-1,,\n"f,2",token,"plant/f2/#;other"\n');
    const { code, stdout, stderr } = await cli('device', 'import', list, '--out', out);
    expect([code, stderr]).toEqual([0, '']);
    expect(statSync(out).mode & 0o777).toBe(0o600);
    const rows = readFileSync(out, 'utf8').trim().split('\n');
    expect(rows[0]).toBe('name,kind,secret,expires');
    const password = rows[1]!.split(',')[2]!;
    secrets.push(password, /tm_[\w-]+/.exec(rows[2]!)![0]);
    expect(stdout).not.toContain(password);
    expect(publish([...plain(), '-u', 'f-1', '-P', password], 'plant/f-1/x')).toBe(0);
    const again = await cli('device', 'import', list, '--out', out);
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('is not overwritten')]);
    writeFileSync(list, 'name\nf-3\nf-1\n');
    const taken = await cli('device', 'import', list, '--out', `${out}2`);
    expect([taken.code, taken.stderr]).toEqual([2, expect.stringContaining('f-1 is there already')]);
    expect((await cli('device', 'list')).stdout).not.toContain('f-3');
  }, 120_000);

  test('a killed gateway’s directory can be administered too, and the next start knows', async () => {
    await stop('SIGKILL');
    expect((await tidemark(['fsck', '--deep', dataDir])).stdout).toContain('verdict     clean');
    const password = await issue('device', 'add', 'while-dead');
    expect((await cli('device', 'rotate', 'pump-1', '--overlap', '0')).code).toBe(0);
    expect((await cli('config', 'apply')).code).toBe(3);
    const admin = await issue('token', 'admin', '--reset');
    const yaml = readFileSync(file, 'utf8');
    await start();
    writeFileSync(file, yaml);
    expect(publish([...plain(), '-u', 'while-dead', '-P', password], 'plant/while-dead/x')).toBe(0);
    expect(curl('/api/v1/status', ...bearer(adminToken)).status).toBe(401);
    adminToken = admin;
    expect(await acts('admin-token-reset')).toHaveLength(1);
    expect(await acts('secret-rotated')).toEqual([expect.objectContaining({ name: 'pump-1', overlapMs: 0 })]);
    expect(gateway.output()).not.toContain('admin token');
  }, 120_000);

  test('every act is in the ledger, and no secret is in a log line or the log', async () => {
    await stop('SIGTERM');
    const { code, stdout } = await tidemark(['fsck', '--deep', '--json', dataDir]);
    expect([code, stdout]).toEqual([0, expect.any(String)]);
    expect(secrets.length).toBeGreaterThan(10);
    const lines = everything.split('\n').filter((line) => line.startsWith('{'));
    expect(lines.length).toBeGreaterThan(5);
    const log = readFileSync(join(dataDir, 'log', '00000000000000000000.log'), 'latin1');
    for (const secret of secrets) {
      expect(lines.filter((line) => line.includes(secret))).toEqual([]);
      expect(log.includes(secret)).toBe(false);
    }
    // The first admin token was printed, once.
    expect(everything.split(secrets[0]!)).toHaveLength(2);
  }, 120_000);
});
