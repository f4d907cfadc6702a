// `node test/package/run.ts`, after `npm run build`: the package as npm would publish it, installed in an empty folder and used
// there as its users do, from the first key to a verified proof. Exits 1 with what did not hold.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { ended, ROOT } from '../support/processes.ts';

const PACKED_BYTES_MAX = 2 * 1024 * 1024;
const OLD_NODE_PLACES = ['/usr/bin/node', '/usr/local/bin/node'];

const folder = mkdtempSync(join(tmpdir(), 'tidemark-package-'));
const home = join(folder, 'empty');
mkdirSync(home);
// The Node that runs this, before any other on the machine; and no GPU parts.
const env = {
  ...process.env,
  PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH}`,
  ONNXRUNTIME_NODE_INSTALL: 'skip',
};

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
  console.log(`ok    ${what}`);
}

const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd: home, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly files: readonly { readonly path: string }[];
}

function pack(): string {
  const args = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder];
  const [packed] = JSON.parse(execFileSync('npm', args, { cwd: ROOT, env, encoding: 'utf8' })) as [Packed];
  const paths = packed.files.map(({ path }) => path);
  const strange = paths.filter((path) =>
    /(^|\/)(tests?|fixtures|tools|node_modules)\/|\.test\.|(?<!\.d)\.ts$/.test(path),
  );
  expect(
    strange.length === 0,
    `no tests and no sources among the ${paths.length} files${strange.map((path) => `\n  ${path}`).join('')}`,
  );
  for (const needed of [
    'dist/bin/tidemark.js',
    'dist/ledger/verify/index.d.ts',
    'dist/dashboard/index.html',
    'README.md',
    'LICENSE',
  ])
    expect(paths.includes(needed), `${needed} is in it`);
  expect(
    paths.some((path) => path.endsWith('.onnx')),
    'the models are in it',
  );
  expect(packed.size < PACKED_BYTES_MAX, `${packed.size} bytes, below ${PACKED_BYTES_MAX}`);
  return join(folder, packed.filename);
}

/** Where it is reached, and what it warned of until then. */
async function ready(gateway: ChildProcess): Promise<{ http: string; warnings: string[] }> {
  const warnings: string[] = [];
  for await (const line of createInterface({ input: gateway.stderr! })) {
    const { level, msg, http } = JSON.parse(line) as { level: number; msg: string; http?: string };
    if (level >= 40) warnings.push(msg);
    if (msg === 'tidemark is ready') return { http: http!, warnings };
  }
  throw new Error('serve ended before it was ready');
}

async function use(): Promise<void> {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  expect(
    run('npx', '--no', 'tidemark', 'version').startsWith(`tidemark ${version} `),
    `npx tidemark version: ${version}`,
  );
  const { verifierKey } = JSON.parse(run('npx', '--no', 'tidemark', 'keygen', '--json')) as {
    verifierKey: string;
  };
  expect(verifierKey.includes('+'), 'npx tidemark keygen prints a verifier key');
  writeFileSync(join(home, 'tidemark.yaml'), 'mqtt: { port: 0 }\nhttp: { port: 0 }\n');
  const launcher = join(home, 'node_modules', '.bin', 'tidemark');
  const gateway = spawn(launcher, ['serve'], { cwd: home, env, stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    const { http, warnings } = await ready(gateway);
    expect(warnings.length === 0, `serve starts without a warning${warnings.join()}`);
    gateway.stderr!.resume();
    const answer = await fetch(`${http}/api/v1/ingest/plant/pump-1/level`, {
      method: 'POST',
      body: '{"value":1}',
    });
    expect(answer.ok, 'serve takes a record');
    const page = await fetch(http);
    expect(page.ok && (await page.text()).includes('<script'), 'serve shows the dashboard');
    run(launcher, 'prove', '--topic', 'plant/pump-1/level', '--out', 'proof.json');
    const verified = spawnSync(launcher, ['verify', 'proof.json', '--key', verifierKey], { cwd: home, env });
    expect(verified.status === 0, 'prove and verify: exit 0');
  } finally {
    gateway.kill('SIGTERM');
  }
  expect((await ended(gateway)).code === 0, 'serve ends with 0 after SIGTERM');
  verifyAsLibrary(verifierKey);
}

/** `import … from 'tidemark/verify'`: its types, without any of ours beside it, and what it does. */
function verifyAsLibrary(verifierKey: string): void {
  writeFileSync(
    join(home, 'package.json'),
    JSON.stringify({ ...JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')), type: 'module' }),
  );
  writeFileSync(
    join(home, 'auditor.ts'),
    `import { type VerifyReport, verifyProof } from 'tidemark/verify';
export function check(proof: string, gatewayKey: string): VerifyReport['status'] {
  return verifyProof(proof, { gatewayKey }).status;
}
`,
  );
  const options = [
    '--strict',
    '--target',
    'es2023',
    '--lib',
    'es2023,dom',
    '--module',
    'nodenext',
    '--types',
    '',
    '--skipLibCheck',
    'false',
  ];
  const compiled = spawnSync(
    join(ROOT, 'node_modules', '.bin', 'tsc'),
    [...options, '--outDir', 'out', 'auditor.ts'],
    {
      cwd: home,
      encoding: 'utf8',
    },
  );
  expect(compiled.status === 0, `tidemark/verify has types for strict users${compiled.stdout}`);
  const script = `import { readFileSync } from 'node:fs';
import { check } from './out/auditor.js';
console.log(check(readFileSync('proof.json', 'utf8'), process.argv[1]));`;
  const status = run(process.execPath, '--input-type=module', '-e', script, verifierKey).trim();
  expect(status === 'signed-by-gateway-only', `tidemark/verify says ${status}`);
}

function refuseOldNode(): void {
  const old = OLD_NODE_PLACES.find(
    (place) =>
      existsSync(place) && /^v(1\d|20)\./.test(execFileSync(place, ['--version'], { encoding: 'utf8' })),
  );
  if (old === undefined) {
    console.log('–     no old Node on this machine to be refused');
    return;
  }
  const { status, stderr } = spawnSync(
    old,
    [join(home, 'node_modules', 'tidemark', 'dist', 'bin', 'tidemark.js'), 'serve'],
    { encoding: 'utf8', cwd: home },
  );
  expect(
    status === 2 && /^tidemark needs Node\.js .*\n$/.test(stderr),
    'an old Node is refused in one line, exit 2',
  );
}

/** As npm leaves it where the optional package's install script fails. */
async function withoutModels(): Promise<void> {
  rmSync(join(home, 'node_modules', 'onnxruntime-node'), { recursive: true });
  const launcher = join(home, 'node_modules', '.bin', 'tidemark');
  const settings = readFileSync(join(home, 'tidemark.yaml'), 'utf8');
  writeFileSync(join(home, 'tidemark.yaml'), `${settings}models: [{ name: mine }]\n`);
  const { status, stderr } = spawnSync(launcher, ['serve'], {
    encoding: 'utf8',
    cwd: home,
    env,
    timeout: 60_000,
  });
  expect(
    status === 3 && stderr.includes('optional: true'),
    'without onnxruntime, serve does not start a model that was asked for, exit 3',
  );
  writeFileSync(join(home, 'tidemark.yaml'), settings);
  const gateway = spawn(launcher, ['serve'], { cwd: home, env, stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    const { warnings } = await ready(gateway);
    gateway.stderr!.resume();
    expect(warnings.join().includes('no model runs'), 'without onnxruntime, serve starts and warns');
  } finally {
    gateway.kill('SIGTERM');
  }
  expect((await ended(gateway)).code === 0, 'and ends with 0');
}

try {
  const tarball = pack();
  writeFileSync(join(home, 'package.json'), '{ "private": true }\n');
  run('npm', 'install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error', tarball);
  expect(existsSync(join(home, 'node_modules', '.bin', 'tidemark')), 'npm install in an empty folder');
  await use();
  refuseOldNode();
  await withoutModels();
} catch (error) {
  console.error(`FAIL  ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
