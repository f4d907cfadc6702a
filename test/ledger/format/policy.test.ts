// Policy text: reading, quorum, and figures held against counting every subset.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatVerifierKey, SIGNATURE_TYPE, verifierKey } from '../../../ledger/format/note.ts';
import {
  describePolicy,
  meetsQuorum,
  parsePolicy,
  policyHash,
  quorumAuthorities,
} from '../../../ledger/format/policy.ts';
import { testKey } from './native.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });
const logKey = formatVerifierKey(verifierKey('gw-3', testKey('gateway').publicKey));
const keys = Array.from({ length: 8 }, (_, i) =>
  formatVerifierKey(verifierKey(`w${i}`, testKey(`witness ${i}`).publicKey, SIGNATURE_TYPE.cosignature)),
);
const witnesses = (count: number) =>
  keys
    .slice(0, count)
    .map((key, i) => `witness w${i} ${key} https://w${i}.example.com\n`)
    .join('');
const example = `log ${logKey}\n${witnesses(3)}group any-two 2 w0 w1 w2\nquorum any-two\n`;

test('the example of LEDGER.md', () => {
  const policy = parsePolicy(example);
  expect(policy.logs.map(({ key, url }) => [key.name, url])).toEqual([['gw-3', null]]);
  expect(policy.authorities.map(({ name, url }) => [name, url])).toEqual([
    ['w0', 'https://w0.example.com'],
    ['w1', 'https://w1.example.com'],
    ['w2', 'https://w2.example.com'],
  ]);
  expect(policy.figures).toEqual({ authorities: 3, smallestQuorum: 2, overlap: 1, mayLie: 0, mayBeDown: 1 });
  expect(policy.hash).toEqual(policyHash(example));
  expect(meetsQuorum(policy, new Set(['w0']))).toBe(false);
  expect(meetsQuorum(policy, new Set(['w0', 'w2']))).toBe(true);
  expect(meetsQuorum(policy, new Set(['w0', 'x', 'y']))).toBe(false);
  expect(describePolicy(policy)).toContain('at least 2 of 3 authorities');
});

test('no quorum: the gateway alone', () => {
  const policy = parsePolicy(`log ${logKey}\nquorum none\n`);
  expect(policy).toMatchObject({ quorum: null, figures: null });
  expect(meetsQuorum(policy, new Set())).toBe(true);
  expect(describePolicy(policy)).toContain('proves little');
});

test('comments, tabs, empty lines, groups of groups, a lone witness as quorum', () => {
  const text = `# ours\n\n \t# indented\n${witnesses(4)}\tgroup\tx all w0 w1\ngroup y any w2 w3\ngroup both all x y\nquorum both\n`;
  const policy = parsePolicy(text);
  expect(policy.figures).toEqual({ authorities: 4, smallestQuorum: 3, overlap: 2, mayLie: 1, mayBeDown: 0 });
  expect(meetsQuorum(policy, new Set(['w0', 'w1', 'w3']))).toBe(true);
  expect(meetsQuorum(policy, new Set(['w0', 'w2', 'w3']))).toBe(false);
  const lone = parsePolicy(`${witnesses(2)}quorum w1\n`);
  expect([...quorumAuthorities(lone)]).toEqual(['w1']);
  expect(lone.figures).toMatchObject({ authorities: 1, overlap: 1 });
});

test('figures equal those counted over every subset of authorities', () => {
  const shape = fc.record({
    sizes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }),
    picks: fc.array(fc.nat(), { minLength: 4, maxLength: 4 }),
  });
  fc.assert(
    fc.property(shape, ({ sizes, picks }) => {
      const total = sizes.reduce((a, b) => a + b, 0);
      fc.pre(total <= 7);
      let next = 0;
      const groups = sizes.map((size, i) => {
        const members = Array.from({ length: size }, () => `w${next++}`);
        return `group g${i} ${1 + (picks[i]! % size)} ${members.join(' ')}\n`;
      });
      const top = `group top ${1 + (picks[3]! % sizes.length)} ${sizes.map((_, i) => `g${i}`).join(' ')}\nquorum top\n`;
      const policy = parsePolicy(`${witnesses(total)}${groups.join('')}${top}`, {
        allowNonIntersecting: true,
      });
      const sets = Array.from({ length: 1 << total }, (_, mask) => mask);
      const names = (mask: number) =>
        new Set(
          Array.from({ length: total }, (_, i) => i)
            .filter((i) => mask & (1 << i))
            .map((i) => `w${i}`),
        );
      const bits = (mask: number) => names(mask).size;
      const quorums = sets.filter((mask) => meetsQuorum(policy, names(mask)));
      const isQuorum = new Set(quorums);
      const overlap = Math.min(...quorums.flatMap((a) => quorums.map((b) => bits(a & b))));
      const blocking = Math.min(...sets.filter((down) => !isQuorum.has(sets.length - 1 - down)).map(bits));
      expect(policy.figures).toEqual({
        authorities: total,
        smallestQuorum: Math.min(...quorums.map(bits)),
        overlap,
        mayLie: Math.max(0, overlap - 1),
        mayBeDown: blocking - 1,
      });
    }),
    { numRuns: 60 },
  );
});

describe('refuses', () => {
  test('a quorum of which two instances need not share a member, unless told to', () => {
    const text = example.replace('any-two 2', 'any-two 1');
    expect(() => parsePolicy(text)).toThrow(code('POLICY_NOT_INTERSECTING'));
    expect(parsePolicy(text, { allowNonIntersecting: true }).figures).toMatchObject({
      overlap: 0,
      mayLie: 0,
    });
  });

  const w0 = keys[0]!;
  test.each<[string, string]>([
    ['nothing', ''],
    ['no quorum', `log ${logKey}\n`],
    ['no last LF', example.slice(0, -1)],
    ['two quorums', `${example}quorum any-two\n`],
    ['an unknown keyword', `cosigner a ${w0}\n${example}`],
    ['CRLF', example.replaceAll('\n', '\r\n')],
    ['a name used before it is defined', `group g all w0\n${witnesses(1)}quorum g\n`],
    ['a name defined twice', `${witnesses(1)}group w0 all w0\nquorum w0\n`],
    ['a member of two groups', `${witnesses(2)}group a all w0\ngroup b all w0 w1\nquorum b\n`],
    ['a member twice', `${witnesses(1)}group a 2 w0 w0\nquorum a\n`],
    ['none as a member', `${witnesses(1)}group a all w0 none\nquorum a\n`],
    ['none as a name', `witness none ${w0}\nquorum none\n`],
    ['a threshold of 0', `${witnesses(1)}group a 0 w0\nquorum a\n`],
    ['a threshold above its members', `${witnesses(2)}group a 3 w0 w1\nquorum a\n`],
    ['a threshold with a leading zero', `${witnesses(2)}group a 02 w0 w1\nquorum a\n`],
    ['a group without members', `${witnesses(1)}group a all\nquorum w0\n`],
    ['a gateway key as authority', `witness a ${logKey}\nquorum a\n`],
    ['an authority key as gateway', `log ${w0}\nquorum none\n`],
    ['one authority key under two names', `witness a ${w0}\nwitness b ${w0}\ngroup g all a b\nquorum g\n`],
    ['one gateway key twice', `log ${logKey}\nlog ${logKey}\nquorum none\n`],
    ['a broken key', `log ${logKey.slice(0, -1)}\nquorum none\n`],
    ['too many words', `witness a ${w0} https://a more\nquorum a\n`],
    ['a quorum nobody defined', `${witnesses(1)}quorum x\n`],
  ])('%s', (_, text) => {
    expect(() => parsePolicy(text)).toThrow(code('POLICY_INVALID'));
  });

  test('with the line in its facts', () => {
    expect(() => parsePolicy(`${example}bad\n`)).toThrow(expect.objectContaining({ facts: { line: 7 } }));
  });
});
