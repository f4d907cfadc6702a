// fsck and audit of a directory whose older segments are in the cold tier only, in a folder and behind the S3 API: what is there
// counts as held and proven, what is not is named.
import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { coldAccess } from '../../../cli/cold-access.ts';
import { type ColdConfig, coldConfigSchema } from '../../../gateway/cold/config.ts';
import { openColdStore } from '../../../gateway/cold/store.ts';
import { type AuditReport, audit } from '../../../ledger/fsck/audit.ts';
import { type FsckReport, fsck } from '../../../ledger/fsck/fsck.ts';
import { type S3Server, startS3 } from '../../gateway/cold/s3-server.ts';
import { KEYS, moved, RECORDS, REGION } from '../../gateway/cold/tier.ts';

const ENTRY = resolve(import.meta.dirname, '../../../bin/tidemark.ts');
const FIRST = '00000000000000000000';
const place = mkdtempSync(join(tmpdir(), 'tidemark-cold-check-'));
let s3: S3Server;
beforeAll(async () => {
  s3 = await startS3({
    folder: join(place, 's3'),
    accessKeyId: KEYS.ID,
    secretAccessKey: KEYS.SECRET,
    region: REGION,
  });
});
afterAll(async () => {
  await s3.close();
  rmSync(place, { recursive: true, force: true });
});

const tiers: Record<string, () => { cold: ColdConfig; folder: string }> = {
  folder: () => {
    const folder = join(place, 'nas');
    return { cold: coldConfigSchema.parse({ type: 'folder', path: folder }), folder };
  },
  's3 api': () => {
    const cold = { type: 's3', endpoint: s3.endpoint, bucket: 'telemetry', region: REGION, prefix: 'gw-3/' };
    return {
      cold: coldConfigSchema.parse({ ...cold, accessKeyIdEnv: 'ID', secretAccessKeyEnv: 'SECRET' }),
      folder: s3.objectPath('telemetry/gw-3'),
    };
  },
};

function tidemark(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const scratch = mkdtempSync(join(place, 'tmp-'));
  return new Promise((done) =>
    execFile(
      process.execPath,
      [ENTRY, ...args],
      { encoding: 'utf8', env: { ...process.env, ...KEYS, TMPDIR: scratch }, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        // Whatever was fetched is gone again.
        const left = readdirSync(scratch);
        done({ code: left.length > 0 ? -1 : Number(error?.code ?? 0), stdout, stderr });
      },
    ),
  );
}

describe.each(Object.entries(tiers))('%s', (name, tier) => {
  let dataDir: string;
  let config: string;
  let cold: ColdConfig;
  let folder: string;
  let coldEnd: number;
  beforeAll(async () => {
    ({ cold, folder } = tier());
    dataDir = join(place, `data ${name}`);
    mkdirSync(dataDir);
    ({ coldEnd } = await moved(dataDir, openColdStore(cold, KEYS), { thinned: true }));
    config = join(place, `${name}.yaml`);
    // JSON is YAML.
    writeFileSync(config, JSON.stringify({ dataDir, cold }));
  });

  const checks = async (of = dataDir) => {
    const access = coldAccess(cold, KEYS);
    return {
      checked: await fsck(of, { deep: true, cold: access }),
      audited: await audit(of, { cold: access }),
    };
  };
  const codes = ({ findings }: FsckReport | AuditReport) =>
    findings.map(({ code, file, severity }) => `${severity} ${code} ${file}`);

  /** Runs with one cold file other than it was. */
  async function withFile(file: string, change: (bytes: Buffer) => Buffer | null, then: () => Promise<void>) {
    const path = join(folder, file);
    const before = readFileSync(path);
    const after = change(Buffer.from(before));
    if (after === null) rmSync(path);
    else writeFileSync(path, after);
    try {
      await then();
    } finally {
      writeFileSync(path, before);
    }
  }

  test('what is there counts as held and proven', async () => {
    expect(existsSync(join(dataDir, 'log', `${FIRST}.log`))).toBe(false);
    expect(existsSync(join(folder, `${FIRST}.leaves`))).toBe(true);
    const { checked, audited } = await checks();
    expect(checked.findings).toEqual([]);
    expect(checked.log).toMatchObject({ start: 0, end: RECORDS });
    expect(checked.log.coldSegments).toBeGreaterThan(2);
    expect(audited.findings).toEqual([]);
    expect(audited.verdict).toBe('clean');
    expect(audited.log).toEqual({ start: 0, end: RECORDS });
    for (const { recordsMatching, recordsPruned, ...rest } of [checked.records!, audited.records]) {
      expect(recordsMatching + recordsPruned).toBe(RECORDS);
      // Only what the rule took, never what merely moved.
      expect(recordsPruned).toBeGreaterThan(0);
      expect(recordsPruned).toBeLessThan(RECORDS / 3);
      expect(rest).toMatchObject({ recordsMissing: 0, recordsUnproven: 0, blocksChanged: 0 });
    }
  }, 60_000);

  test('by its configuration, as a user runs it', async () => {
    const checked = await tidemark('fsck', dataDir, '-c', config);
    expect(checked).toMatchObject({ code: 0, stderr: '' });
    expect(checked.stdout).toMatch(/ and \d+ in the cold tier/);
    const local = await tidemark('audit', dataDir, '-c', config, '--skip-cold', '--json');
    expect(local.code).toBe(0);
    const report = JSON.parse(local.stdout) as AuditReport;
    expect(codes(report)).toEqual(['note COLD_NOT_READ cold']);
    expect(report.log!.start).toBe(coldEnd);
    expect(report.records.recordsPruned).toBeGreaterThanOrEqual(coldEnd);
  }, 60_000);

  test('a missing copy is named', async () => {
    await withFile(
      `${FIRST}.log`,
      () => null,
      async () => {
        const { checked, audited } = await checks();
        for (const report of [checked, audited])
          expect(codes(report)).toEqual([`error COLD_MISSING cold/${FIRST}.log`]);
        expect(checked.verdict).toBe('damaged');
        expect(audited.verdict).toBe('problems');
      },
    );
  }, 60_000);

  test('a changed copy is named, with the byte', async () => {
    await withFile(
      `${FIRST}.log`,
      (bytes) => {
        bytes[200]! ^= 1;
        return bytes;
      },
      async () => {
        const { checked, audited } = await checks();
        expect(codes(checked).slice(0, 2)).toEqual([
          `error COLD_DAMAGED cold/${FIRST}.log`,
          `error SEGMENT_DAMAGED cold/${FIRST}.log`,
        ]);
        expect(checked.findings[1]!.position).toBe(0);
        expect(codes(audited)).toContain(`error COLD_DAMAGED cold/${FIRST}.log`);
      },
    );
    await withFile(
      `${FIRST}.index`,
      (bytes) => bytes.subarray(8),
      async () => {
        const { checked, audited } = await checks();
        expect(codes(checked)).toEqual([`warning COLD_DAMAGED cold/${FIRST}.index`]);
        // Nothing that an audit rests on.
        expect(audited.findings).toEqual([]);
      },
    );
  }, 60_000);

  test('a manifest that cannot be read is named, and what lies behind it', async () => {
    const broken = join(place, `broken ${name}`);
    cpSync(dataDir, broken, { recursive: true });
    const manifests = readdirSync(join(broken, 'cold')).sort();
    writeFileSync(join(broken, 'cold', manifests[1]!), '{"version":1');
    const { checked, audited } = await checks(broken);
    for (const report of [checked, audited])
      expect(codes(report)).toEqual([
        `warning COLD_MANIFEST_WRONG cold/${manifests[1]}`,
        'warning COLD_MISSING cold',
      ]);
  }, 60_000);
});

test('a tier that does not answer is no verdict', async () => {
  const { cold } = tiers['s3 api']!();
  const gone = join(place, 'gone.yaml');
  const dataDir = join(place, 'data s3 api');
  writeFileSync(gone, JSON.stringify({ dataDir, cold: { ...cold, endpoint: 'http://127.0.0.1:1' } }));
  const unreachable = await tidemark('audit', dataDir, '-c', gone);
  expect(unreachable.code).toBe(2);
  expect(unreachable.stderr).toContain('--skip-cold');
  writeFileSync(
    gone,
    JSON.stringify({ dataDir, cold: { type: 'folder', path: join(place, 'not-mounted') } }),
  );
  expect((await tidemark('fsck', dataDir, '-c', gone)).stderr).toContain('does not exist');
}, 60_000);
