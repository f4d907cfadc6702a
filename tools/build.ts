// Builds dist/ for the published package: compiled sources with types, shipped models, the dashboard.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const dist = join(root, 'dist');

function run(command: string, args: string[]): void {
  const result = spawnSync(join(root, 'node_modules', '.bin', command), args, {
    cwd: root,
    stdio: 'inherit',
  });
  if (result.status !== 0) {
    console.error(`build: ${command} ${args.join(' ')} failed`);
    process.exit(1);
  }
}

for (const name of readdirSync(root).includes('dist') ? readdirSync(dist) : [])
  rmSync(join(dist, name), { recursive: true });
mkdirSync(dist, { recursive: true });
run('tsc', ['-p', 'tsconfig.build.json']);
// The launcher is CommonJS (see bin/tidemark.ts); the rest of the package is ESM.
writeFileSync(join(dist, 'bin', 'package.json'), '{ "type": "commonjs" }\n');
chmodSync(join(dist, 'bin', 'tidemark.js'), 0o755);
cpSync(join(root, 'firmware-sim', 'scenarios'), join(dist, 'firmware-sim', 'scenarios'), { recursive: true });
cpSync(join(root, 'models', 'onnx'), join(dist, 'models', 'onnx'), { recursive: true });
run('vite', ['build', 'gateway/dashboard', '--logLevel', 'warn']);
console.log('build: dist/ is ready');
