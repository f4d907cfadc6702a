// Settings that are each allowed and do not go together, told at the start and not by the first record.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type ConfigError, loadConfig } from '../../cli/config/load.ts';
import { type GatewayConfig, gatewayConfig } from '../../cli/config/schema.ts';
import { type LogConfig, logConfigSchema } from '../../gateway/log/config.ts';
import { SOURCE } from '../../ledger/format/record.ts';
import { Harness } from '../gateway/admission/harness.ts';

const folder = mkdtempSync(join(tmpdir(), 'tidemark-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const problemsOf = (tree: object) =>
  (gatewayConfig.safeParse(tree).error?.issues ?? []).map(
    ({ path, message }) => [path.join('.'), message] as const,
  );
const fieldsOf = (tree: object) => problemsOf(tree).map(([field]) => field);

const KIB = 1024;

test('the defaults go together', () => {
  expect(problemsOf({})).toEqual([]);
});

describe('the largest record fits the log', () => {
  test('a payload limit that does not leave room for topic, device and headers', () => {
    const [problem] = problemsOf({ ingest: { maxPayloadBytes: KIB * KIB } });
    expect(problem).toEqual([
      'ingest.maxPayloadBytes',
      expect.stringContaining('log.maxRecordBytes of at least 1049856 (it is 1048576)'),
    ]);
    expect(fieldsOf({ log: { maxRecordBytes: 256 * KIB } })).toEqual(['ingest.maxPayloadBytes']);
    expect(fieldsOf({ ingest: { maxTopicBytes: 65_535, maxPayloadBytes: 1_000_000 } })).toEqual([
      'ingest.maxPayloadBytes',
    ]);
  });

  test('with the number it names, both start', () => {
    const log = { maxRecordBytes: 1_049_856 };
    expect(problemsOf({ ingest: { maxPayloadBytes: KIB * KIB }, log })).toEqual([]);
  });

  test('what just passes is stored, every text at its longest', async () => {
    const ingest = { maxPayloadBytes: 2_000, maxTopicBytes: 300, maxDeviceBytes: 200, templates: [] };
    const log: Partial<LogConfig> = { maxRecordBytes: 3_012 };
    expect(problemsOf({ ingest, log })).toEqual([]);
    expect(fieldsOf({ ingest, log: { maxRecordBytes: 3_011 } })).toEqual(['ingest.maxPayloadBytes']);
    const harness = await Harness.open({ ingest, log });
    const outcome = await harness.submit({
      source: SOURCE.http,
      topic: 'é'.repeat(150),
      device: 'd'.repeat(200),
      contentType: 'c'.repeat(255),
      payload: new Uint8Array(2_000),
      sequence: Number.MAX_SAFE_INTEGER,
      eventMs: -8_640_000_000_000_000,
    });
    expect(outcome).toMatchObject({ kind: 'stored' });
    await harness.remove();
  });
});

test('request bodies have room for the largest batch, compressed and not', () => {
  expect(fieldsOf({ http: { ingest: { maxHeldBytes: 8 * KIB * KIB } } })).toEqual([
    'http.ingest.maxHeldBytes',
  ]);
  expect(problemsOf({ http: { ingest: { maxHeldBytes: 16 * KIB * KIB } } })).toEqual([]);
});

describe('the log has room for results', () => {
  const log = { maxRecordBytes: 32 * KIB, maxPendingBytes: 64 * KIB };
  const ingest = { maxPayloadBytes: KIB };

  test('less than one round of them, while windows or models run', () => {
    expect(logConfigSchema.safeParse(log).success).toBe(true);
    expect(fieldsOf({ ingest, log, models: [] })).toEqual(['log.maxPendingBytes']);
    expect(fieldsOf({ ingest, log, windows: [] })).toEqual(['log.maxPendingBytes']);
    expect(fieldsOf({ ingest, log, windows: [], models: [] })).toEqual([]);
    expect(fieldsOf({ ingest, log: { ...log, maxPendingBytes: 512 * KIB } })).toEqual([]);
  });
});

describe('the two ports', () => {
  const on = (mqtt: Partial<GatewayConfig['mqtt']>, http: Partial<GatewayConfig['http']>) =>
    fieldsOf({ mqtt: { port: 9000, ...mqtt }, http: { port: 9000, ...http } });

  test('may not be the same one of the same address', () => {
    expect(on({}, {})).toEqual(['mqtt.port']);
    expect(on({ host: '0.0.0.0' }, {})).toEqual(['mqtt.port']);
    expect(on({}, { host: '::' })).toEqual(['mqtt.port']);
  });

  test('may be of different addresses, both free ones, or one of them off', () => {
    expect(on({ host: '127.0.0.2' }, {})).toEqual([]);
    expect(on({ port: 0 }, { port: 0 })).toEqual([]);
    expect(on({ enabled: false }, {})).toEqual([]);
  });
});

test('a forwarder may not feed this gateway its own records', () => {
  const to = (url: string, mqtt = {}) =>
    fieldsOf({ mqtt, forwarders: [{ name: 'central', type: 'mqtt', url }] });
  expect(to('mqtt://127.0.0.1:1883')).toEqual(['forwarders.0.url']);
  expect(to('mqtt://localhost')).toEqual(['forwarders.0.url']);
  expect(to('mqtt://10.1.2.3:2000', { host: '10.1.2.3', port: 2000 })).toEqual(['forwarders.0.url']);
  expect(to('mqtt://127.0.0.1:1884')).toEqual([]);
  expect(to('mqtt://central.example.com:1883')).toEqual([]);
  expect(to('mqtt://127.0.0.1:1883', { enabled: false })).toEqual([]);
});

test('a limit smaller than a payload needs is no contradiction: its adapter refuses, the others do not', () => {
  expect(problemsOf({ mqtt: { maxPacketBytes: KIB }, websocket: { maxFrameBytes: KIB } })).toEqual([]);
});

test('from a file, the line is named; from the environment, the variable', () => {
  const file = join(folder, 'tidemark.yaml');
  writeFileSync(file, 'ingest:\n  maxPayloadBytes: 1048576\n');
  const complaint = (environment: NodeJS.ProcessEnv) => {
    try {
      loadConfig(file, environment);
      return 'accepted';
    } catch (error) {
      return (error as ConfigError).message;
    }
  };
  expect(complaint({})).toMatch(`${file}:2:3: ingest.maxPayloadBytes: needs log.maxRecordBytes`);
  expect(complaint({ TIDEMARK_LOG_MAX_RECORD_BYTES: '2097152' })).toBe('accepted');
  expect(complaint({ TIDEMARK_INGEST_MAX_PAYLOAD_BYTES: '4000000' })).toContain(
    'TIDEMARK_INGEST_MAX_PAYLOAD_BYTES: needs log.maxRecordBytes',
  );
});
