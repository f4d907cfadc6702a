// docs/attacks.md against what is there: its findings are findings, its tests are tests, and no attack that must be in it is not.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

const rows = read('docs/attacks.md')
  .split('\n')
  .filter((line) => /^\| (?!Attack|-)/.test(line))
  .map((line) => line.slice(2, -2).split(' | ') as [string, string, string, string]);

const codes = new Set(
  [...read('ledger/fsck/findings.ts').matchAll(/'([A-Z]+(?:_[A-Z]+)+)'/g)].map(([, code]) => code!),
);
const refusals = new Set(['POLICY_NOT_INTERSECTING']);

test.each(rows)('%s', (attack, findings, authority, where) => {
  expect(where, attack).toMatch(/^test\/[^:]+\.test\.ts: ./);
  const [file, name] = [where.slice(0, where.indexOf(': ')), where.slice(where.indexOf(': ') + 2)];
  expect(existsSync(join(ROOT, file)), file).toBe(true);
  const text = read(file);
  expect(
    [`'${name}'`, `'${name}:`, `"${name}"`].some((quoted) => text.includes(quoted)),
    `${file}: ${name}`,
  ).toBe(true);
  const named = findings.match(/[A-Z]+(?:_[A-Z]+)+/g) ?? [];
  for (const code of named) expect(codes.has(code) || refusals.has(code), code).toBe(true);
  // The test asserts what the table promises.
  if (named.length > 0)
    expect(
      named.some((code) => text.includes(code)),
      `${file} names ${named}`,
    ).toBe(true);
  const statuses = authority.match(/\b4\d\d\b/g) ?? [];
  for (const status of statuses)
    expect(read('ledger/authority/witness.ts').includes(`status: ${status}`), status).toBe(true);
});

test.each([
  'payload edited',
  'record removed',
  'record inserted',
  'records reordered',
  'block edited',
  'chain truncated',
  'data directory rolled back',
  'fork shown to two authorities',
  'old checkpoint',
  'cosignature forged',
  'wrong key id',
  'origin swapped',
  'quorum of one',
  'key used after it was given up',
  'proof for another index',
  'Unicode, whitespace',
  '2^53',
])('the table has: %s', (attack) => {
  expect(rows.filter(([name]) => name.includes(attack)).length).toBeGreaterThan(0);
});
