// Makes a fresh clone ready to run: installs the packages and builds the dashboard, and does nothing
// (in a few milliseconds) when both are already up to date. Runs on Node 20, so it is plain JavaScript.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const installed = join(root, 'node_modules', '.tidemark-installed');
const dashboard = join(root, 'dist', 'dashboard', 'index.html');
const dashboardStamp = join(root, 'dist', 'dashboard', '.sources');

function hashOf(files) {
  const hash = createHash('sha256');
  for (const file of files)
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(join(root, file)));
  return hash.digest('hex');
}

function sourcesUnder(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const path = `${folder}/${entry.name}`;
      return entry.isDirectory() ? sourcesUnder(path) : [path];
    })
    .sort();
}

function upToDate(stamp, wanted) {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;
}

function npm(what, ...args) {
  const started = Date.now();
  process.stderr.write(`tidemark: ${what} …\n`);
  const result = spawnSync('npm', args, {
    cwd: root,
    encoding: 'utf8',
    shell: process.platform === 'win32',
    // onnxruntime-node's install script downloads GPU parts that we neither need nor can always reach.
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' },
  });
  if (result.status !== 0) {
    process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}${result.error ?? ''}\n`);
    process.stderr.write(`tidemark: ${what} failed; see the lines above.\n`);
    process.exit(1);
  }
  process.stderr.write(`tidemark: ${what}: done in ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}

const lock = hashOf(['package.json', 'package-lock.json']);
if (!upToDate(installed, lock)) {
  npm('installing packages', 'ci', '--loglevel=error', '--no-audit', '--no-fund');
  writeFileSync(installed, lock);
}

const sources = hashOf([
  ...sourcesUnder('gateway/dashboard'),
  ...sourcesUnder('ledger/format'),
  ...sourcesUnder('ledger/verify'),
  'package-lock.json',
]);
if (!existsSync(dashboard) || !upToDate(dashboardStamp, sources)) {
  npm('building the dashboard', 'run', '--silent', 'build:dashboard');
  writeFileSync(dashboardStamp, sources);
}
