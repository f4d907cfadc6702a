// Holds the import table of docs/architecture.md: which folder may import which. An import that is not
// in the table fails here, so the structure cannot drift by habit.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');

/** Longest matching prefix wins. `own` packages: undefined = any, otherwise exactly these. */
const table: Record<string, { imports: string[]; packages?: string[]; node?: false }> = {
  'ledger/format': { imports: [], packages: ['@noble/ed25519'], node: false },
  'ledger/verify': { imports: ['ledger/format'], packages: [], node: false },
  'ledger/seal': {
    imports: [
      'ledger/format',
      'ledger/keys',
      'ledger/tiles',
      'ledger/cosign',
      'gateway/codecs',
      'gateway/log',
      'gateway/state',
      'gateway/stage',
    ],
  },
  'ledger/keys': { imports: ['ledger/format'] },
  'ledger/cosign': { imports: ['ledger/format', 'ledger/keys', 'ledger/tiles', 'gateway/stage'] },
  'ledger/authority': {
    imports: ['ledger/format', 'ledger/keys', 'ledger/tiles', 'ledger/verify', 'ledger/seal'],
  },
  'ledger/timestamp': { imports: ['ledger/format', 'ledger/tiles', 'gateway/stage'] },
  'ledger/provenance': { imports: ['ledger/format', 'ledger/tiles', 'gateway/log'] },
  'ledger/tiles': { imports: ['ledger/format'] },
  'ledger/fsck': { imports: ['ledger/format', 'ledger/verify'] },
  'gateway/threads': { imports: [] },
  'gateway/log': { imports: ['ledger/format', 'gateway/threads'] },
  'gateway/state': { imports: ['ledger/format'] },
  'gateway/backup': { imports: ['gateway/log', 'ledger/format'] },
  'gateway/cold': { imports: ['gateway/log', 'gateway/stage', 'ledger/format'] },
  'gateway/retention': {
    imports: [
      'gateway/log',
      'gateway/state',
      'gateway/stage',
      'gateway/codecs',
      'gateway/threads',
      'ledger/format',
      'ledger/tiles',
    ],
  },
  'gateway/stage': { imports: ['gateway/log', 'gateway/state', 'gateway/threads', 'ledger/format'] },
  'gateway/codecs': { imports: ['ledger/format'] },
  'gateway/admission': {
    imports: ['gateway/log', 'gateway/codecs', 'gateway/state', 'gateway/threads', 'ledger/format'],
  },
  'gateway/access': { imports: ['gateway/codecs', 'ledger/format'] },
  'gateway/ingest': {
    imports: [
      'gateway/access',
      'gateway/admission',
      'gateway/log',
      'gateway/codecs',
      'gateway/threads',
      'ledger/format',
    ],
  },
  'gateway/sparkplug': {
    imports: ['gateway/stage', 'gateway/codecs', 'ledger/format'],
  },
  'gateway/windows': {
    imports: ['gateway/stage', 'gateway/codecs', 'ledger/format'],
  },
  models: { imports: ['gateway/stage', 'gateway/codecs', 'ledger/format'] },
  sync: { imports: ['gateway/log', 'gateway/state', 'gateway/stage', 'gateway/codecs', 'ledger/format'] },
  'gateway/api': {
    imports: [
      'gateway/access',
      'gateway/ingest',
      'gateway/admission',
      'gateway/log',
      'gateway/cold',
      'gateway/stage',
      'gateway/threads',
      'ledger/format',
      'ledger/provenance',
      'ledger/tiles',
    ],
  },
  'gateway/dashboard': { imports: ['ledger/format', 'ledger/verify'] },
  'firmware-sim': { imports: ['ledger/verify'] },
  cli: { imports: ['cli', 'gateway', 'ledger', 'models', 'sync', 'firmware-sim'] },
  bin: { imports: ['cli'] },
};

const places = Object.keys(table).sort((a, b) => b.length - a.length);
const placeOf = (path: string) => places.find((place) => path === place || path.startsWith(`${place}/`));

function sourceFiles(folder: string): string[] {
  return readdirSync(join(root, folder)).flatMap((name) => {
    const path = `${folder}/${name}`;
    if (statSync(join(root, path)).isDirectory()) return sourceFiles(path);
    return /\.(ts|svelte)$/.test(name) ? [path] : [];
  });
}

function importsOf(path: string): string[] {
  const text = readFileSync(join(root, path), 'utf8');
  const statements =
    /(?:^|\n|;)\s*(?:import|export)\s[^'";]*?from\s*['"]([^'"]+)['"]|import\s*\(\s*['"]([^'"]+)['"]|(?:^|\n)\s*import\s+['"]([^'"]+)['"]/g;
  return [...text.matchAll(statements)].map((match) => (match[1] ?? match[2] ?? match[3])!);
}

const folders = ['bin', 'cli', 'gateway', 'ledger', 'models', 'sync', 'firmware-sim'];
const files = folders.flatMap(sourceFiles);

test('every source file lives in a folder of the import table', () => {
  expect(files.filter((file) => !placeOf(file))).toEqual([]);
  expect(files.length).toBeGreaterThan(20);
});

test('folders import only what the table allows', () => {
  const violations: string[] = [];
  for (const file of files) {
    const place = placeOf(file);
    if (!place) continue;
    const rule = table[place]!;
    for (const specifier of importsOf(file)) {
      if (specifier.startsWith('node:')) {
        if (rule.node === false) violations.push(`${file} imports ${specifier}: portable code has no Node`);
      } else if (specifier.startsWith('.')) {
        const target = relative(root, resolve(root, dirname(file), specifier));
        const allowed = [place, ...rule.imports];
        if (!allowed.some((other) => target === other || target.startsWith(`${other}/`))) {
          violations.push(
            `${file} imports ${target}: ${place} may import ${rule.imports.join(', ') || 'nothing'}`,
          );
        }
      } else if (
        rule.packages &&
        !rule.packages.some((name) => specifier === name || specifier.startsWith(`${name}/`))
      ) {
        violations.push(`${file} imports the package ${specifier}`);
      }
    }
  }
  expect(violations).toEqual([]);
});

/** What a file loads when it is run: imports of types alone are gone by then. */
function loadedBy(path: string): string[] {
  const text = readFileSync(join(root, path), 'utf8');
  const statements = /(?:^|\n)(?:import|export)\s+(?!type\s)(?:[^'";]*?from\s*)?['"]([^'"]+)['"]/g;
  return [...text.matchAll(statements)].map((match) => match[1]!);
}

test('no thread but the first loads zod, which takes 8 MiB in each: schemas stand in files that workers do not load', () => {
  const entries = files.filter((file) => /(?:^|[/-])(?:worker|chore)\.ts$/.test(file));
  expect(entries.length).toBeGreaterThan(10);
  const ways: string[] = [];
  for (const entry of entries) {
    const seen = new Set([entry]);
    const open = [[entry]];
    for (let way = open.pop(); way; way = open.pop()) {
      const at = way.at(-1)!;
      for (const specifier of loadedBy(at)) {
        if (specifier === 'zod') ways.push(way.join(' → '));
        const target = specifier.startsWith('.')
          ? relative(root, resolve(root, dirname(at), specifier))
          : null;
        if (target === null || seen.has(target) || !target.endsWith('.ts')) continue;
        seen.add(target);
        open.push([...way, target]);
      }
    }
  }
  expect(ways).toEqual([]);
});
