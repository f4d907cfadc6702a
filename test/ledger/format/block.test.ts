// Block text and the rules of the chain: golden text, strict reading, every violation by name.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Block, blockHash, encodeBlock, parseBlock } from '../../../ledger/format/block.ts';
import { checkBlock, checkSuccessor } from '../../../ledger/format/block-rules.ts';
import { blockHeight, offset } from '../../../ledger/format/brand.ts';
import { EMPTY_ROOT, leafHash } from '../../../ledger/format/hash.ts';

const genesis: Block = {
  origin: 'plant7.example.com/gw-3',
  height: blockHeight(0),
  previous: new Uint8Array(32),
  kind: 'genesis',
  first: offset(0),
  count: 0,
  root: EMPTY_ROOT,
  eventMinMs: 0,
  eventMaxMs: 0,
  sealedMs: 1763600000000,
  bootId: '00112233445566ff',
  monotonicMs: 12,
  policyHash: new Uint8Array(32).fill(1),
  detail: { software: 'tidemark 0.1.0', logFormat: 2 },
};
const genesisHash = blockHash(encodeBlock(genesis));
const data: Block = {
  ...genesis,
  height: blockHeight(1),
  previous: genesisHash,
  kind: 'data',
  count: 4,
  root: leafHash(new Uint8Array(1)),
  eventMinMs: -5,
  eventMaxMs: 1763600000000,
  sealedMs: 1763600001000,
  monotonicMs: 1012,
  detail: null,
};
const text = (block: Block) => new TextDecoder().decode(encodeBlock(block));
const parse = (block: string) => parseBlock(new TextEncoder().encode(block));
const invalid = expect.objectContaining({ code: 'BLOCK_INVALID' });

describe('block text', () => {
  test('reads as LEDGER.md says, field by field', () => {
    expect(text(data)).toBe(
      [
        'tidemark/block/v1',
        'origin plant7.example.com/gw-3',
        'height 1',
        `previous ${Buffer.from(genesisHash).toString('base64')}`,
        'kind data',
        'first 0',
        'count 4',
        `root ${Buffer.from(data.root).toString('base64')}`,
        'event -5 1763600000000',
        'sealed 1763600001000',
        'boot 00112233445566ff 1012',
        'policy AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=',
        'detail -',
        '',
      ].join('\n'),
    );
    expect(text(genesis)).toContain(
      `detail ${Buffer.from('{"logFormat":2,"software":"tidemark 0.1.0"}').toString('base64url')}\n`,
    );
    expect(text(genesis)).toContain('root 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n');
  });

  test('every block reads back to the same bytes', () => {
    const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const anyBlock = fc.record({
      origin: fc.constantFrom('gw', 'plant7.example.com/gw-3', 'ключ/1'),
      height: fc.maxSafeNat().map(blockHeight),
      previous: hash,
      kind: fc.constantFrom('genesis', 'data', 'heartbeat', 'gap', 'prune', 'policy', 'key'),
      first: fc.maxSafeNat().map(offset),
      count: fc.maxSafeNat(),
      root: hash,
      eventMinMs: fc.maxSafeInteger().map((n) => n + 0),
      eventMaxMs: fc.maxSafeInteger().map((n) => n + 0),
      sealedMs: fc.maxSafeNat(),
      bootId: fc.constant('0123456789abcdef'),
      monotonicMs: fc.maxSafeNat(),
      policyHash: hash,
      detail: fc.option(
        fc.dictionary(
          fc.string({ unit: 'grapheme' }),
          fc.oneof(
            fc.maxSafeInteger().map((n) => n + 0),
            fc.boolean(),
          ),
        ),
      ),
    }) as fc.Arbitrary<Block>;
    fc.assert(
      fc.property(anyBlock, (block) => {
        const bytes = encodeBlock(block);
        const back = parseBlock(bytes);
        expect({ ...back, detail: null }).toEqual({ ...block, detail: null });
        expect(JSON.stringify(encodeBlock(back))).toBe(JSON.stringify(bytes));
      }),
    );
  });

  const changes: [string, (block: string) => string][] = [
    ['another version', (t) => t.replace('/v1', '/v2')],
    ['a missing last LF', (t) => t.slice(0, -1)],
    ['a line after the end', (t) => `${t}note hello\n`],
    ['an empty line after the end', (t) => `${t}\n`],
    ['CRLF', (t) => t.replaceAll('\n', '\r\n')],
    ['a byte order mark', (t) => `\ufeff${t}`],
    ['two fields swapped', (t) => t.replace(/(first .*\n)(count .*\n)/, '$2$1')],
    ['a field twice', (t) => t.replace(/(first .*\n)/, '$1$1')],
    ['a leading zero', (t) => t.replace('count 4', 'count 04')],
    ['a height of 2^53', (t) => t.replace('height 1', 'height 9007199254740992')],
    ['a negative count', (t) => t.replace('count 4', 'count -4')],
    ['minus zero', (t) => t.replace('event -5', 'event -0')],
    ['two spaces', (t) => t.replace('event -5 ', 'event -5  ')],
    ['a space at the end of a line', (t) => t.replace('kind data', 'kind data ')],
    ['an unknown kind', (t) => t.replace('kind data', 'kind Data')],
    ['an origin with a space', (t) => t.replace('origin plant7', 'origin plant 7')],
    ['upper-case boot', (t) => t.replace('66ff', '66FF')],
    ['a short boot', (t) => t.replace('66ff', '66f')],
    ['base64 with spare bits', (t) => t.replace('AQE=', 'AQF=')],
    ['a hash of 31 bytes', (t) => t.replace(/policy .*/, `policy ${Buffer.alloc(31).toString('base64')}`)],
    [
      'detail that is an array',
      (t) => t.replace('detail -', `detail ${Buffer.from('[1]').toString('base64url')}`),
    ],
    [
      'detail with spaces',
      (t) => t.replace('detail -', `detail ${Buffer.from('{"a": 1}').toString('base64url')}`),
    ],
    ['detail that is empty', (t) => t.replace('detail -', 'detail ')],
    ['padded detail', (t) => t.replace('detail -', `detail ${Buffer.from('{"a":12}').toString('base64')}`)],
  ];
  test.each(changes)('refuses %s', (_, change) => {
    const changed = change(text(data));
    expect(changed).not.toBe(text(data));
    expect(() => parse(changed)).toThrow(invalid);
  });

  test('refuses more than 65,535 bytes, reading and writing', () => {
    const detail = { a: 'x'.repeat(60_000) };
    expect(() => encodeBlock({ ...data, detail })).toThrow(invalid);
    expect(() => parseBlock(new Uint8Array(65_536))).toThrow(invalid);
    expect(() => encodeBlock({ ...data, origin: 'a b' })).toThrow(invalid);
  });
});

describe('rules', () => {
  const rules = (
    change: Partial<Block>,
    previous: Block | null = genesis,
    hash: Uint8Array | null = genesisHash,
  ) => checkSuccessor(previous, hash, { ...data, ...change }).map((violation) => violation.rule);

  test('a sound chain has no violations', () => {
    expect(checkSuccessor(null, null, genesis)).toEqual([]);
    expect(rules({})).toEqual([]);
    const empty = { count: 0, root: EMPTY_ROOT, eventMinMs: 0, eventMaxMs: 0 };
    expect(rules({ ...empty, kind: 'heartbeat' })).toEqual([]);
    expect(rules({ ...empty, kind: 'gap', count: 10 })).toEqual([]);
    expect(rules({ bootId: 'ffffffffffffffff', monotonicMs: 0, sealedMs: 0 })).toEqual([]);
  });

  const broken: [string, Partial<Block>, string[]][] = [
    ['height skipped', { height: blockHeight(2) }, ['height-not-next']],
    ['height 0 again', { height: blockHeight(0) }, ['genesis-misplaced', 'height-not-next']],
    ['another previous', { previous: new Uint8Array(32) }, ['previous-mismatch']],
    ['offsets left out', { first: offset(1) }, ['first-not-next']],
    ['origin changed', { origin: 'other' }, ['origin-changed']],
    [
      'a second genesis',
      { kind: 'genesis', count: 0, root: EMPTY_ROOT, eventMinMs: 0, eventMaxMs: 0 },
      ['genesis-misplaced'],
    ],
    ['data without records', { count: 0 }, ['count-out-of-range']],
    ['data of 65,537 records', { count: 65_537 }, ['count-out-of-range']],
    [
      'heartbeat with records',
      { kind: 'heartbeat', root: EMPTY_ROOT, eventMinMs: 0, eventMaxMs: 0 },
      ['count-out-of-range'],
    ],
    ['gap with a root', { kind: 'gap', count: 0, eventMinMs: 0, eventMaxMs: 0 }, ['root-without-records']],
    ['prune with event times', { kind: 'prune', count: 0, root: EMPTY_ROOT }, ['event-times-invalid']],
    ['event times swapped', { eventMinMs: 2, eventMaxMs: 1 }, ['event-times-invalid']],
    ['monotonic clock backwards', { monotonicMs: 11 }, ['monotonic-backwards']],
    ['wall clock backwards', { sealedMs: genesis.sealedMs - 1 }, ['sealed-backwards']],
  ];
  test.each(broken)('%s', (_, change, expected) => {
    expect(rules(change).sort()).toEqual(expected.sort());
  });

  test('a declared clock step may turn the wall clock back', () => {
    const gap = {
      kind: 'gap',
      count: 0,
      root: EMPTY_ROOT,
      eventMinMs: 0,
      eventMaxMs: 0,
      sealedMs: 5,
    } as const;
    expect(rules({ ...gap, detail: { cause: 'clock-step' } })).toEqual([]);
    expect(rules({ ...gap, detail: { cause: 'torn-tail' } })).toEqual(['sealed-backwards']);
  });

  test('the first block is a genesis at offset 0', () => {
    expect(checkSuccessor(null, null, { ...genesis, first: offset(3) }).map((v) => v.rule)).toEqual([
      'first-not-next',
    ]);
    expect(checkSuccessor(null, null, { ...genesis, previous: genesisHash }).map((v) => v.rule)).toEqual([
      'previous-mismatch',
    ]);
    expect(checkBlock({ ...genesis, kind: 'heartbeat' }).map((v) => v.rule)).toEqual(['genesis-misplaced']);
    expect(checkBlock(genesis)).toEqual([]);
  });
});
