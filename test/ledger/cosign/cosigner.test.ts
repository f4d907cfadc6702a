// The gateway's side of cosigning, against real authorities over HTTP and against every kind of bad one: what they answer
// never stops sealing, except where it shows that this disk was rolled back; nothing counts that does not verify.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { StageFigures } from '../../../gateway/stage/types.ts';
import { authorityConfig } from '../../../ledger/authority/config.ts';
import { startAuthority } from '../../../ledger/authority/server.ts';
import { cosignSchema } from '../../../ledger/cosign/config.ts';
import { type CosignAlarm, Cosigner } from '../../../ledger/cosign/cosigner.ts';
import { type CosignMemory, NO_MEMORY } from '../../../ledger/cosign/memory.ts';
import { parseAddCheckpoint } from '../../../ledger/format/add-checkpoint.ts';
import { cosignatureMessage, formatCosignature } from '../../../ledger/format/cosignature.ts';
import { cosigners } from '../../../ledger/format/epochs.ts';
import {
  formatNote,
  formatSignatureLine,
  formatVerifierKey,
  parseNote,
  SIGNATURE_TYPE,
  verifierKey,
} from '../../../ledger/format/note.ts';
import { parsePolicy } from '../../../ledger/format/policy.ts';
import { gatewayVerifierKey } from '../../../ledger/seal/key.ts';
import type { Sealer } from '../../../ledger/seal/sealer.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import { testKey } from '../format/native.ts';
import { ORIGIN, World } from '../seal/world.ts';

const quiet = { info: () => {}, warn: () => {}, error: () => {} };
const closers: (() => unknown)[] = [];
let world: World;
let sealer: Sealer;
beforeEach(async () => {
  world = new World();
  sealer = await world.open();
});
afterEach(async () => {
  for (let close = closers.pop(); close; close = closers.pop()) await close();
  world.close();
});

interface TestAuthority {
  readonly url: string;
  readonly key: string;
}

async function honest(name: string): Promise<TestAuthority> {
  const dataDir = mkdtempSync(join(tmpdir(), 'tidemark-authority-'));
  const config = { name, dataDir, port: 0, gateways: [{ keys: [gatewayVerifierKey(ORIGIN, world.key)] }] };
  const authority = await startAuthority(authorityConfig.parse(config), quiet);
  closers.push(async () => {
    await authority.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  return { url: authority.url, key: authority.verifierKey };
}

type Answer = (request: { note: string; oldSize: number }, response: ServerResponse, count: number) => void;

/** Anything that answers HTTP under a key of its own. */
async function other(name: string, answer: Answer): Promise<TestAuthority & { asked: () => number }> {
  let count = 0;
  const server: Server = createServer((request: IncomingMessage, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      count += 1;
      answer(parseAddCheckpoint(Buffer.concat(parts)), response, count);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const key = formatVerifierKey(verifierKey(name, testKey(name).publicKey, SIGNATURE_TYPE.cosignature));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, key, asked: () => count };
}

const policyOf = (authorities: readonly TestAuthority[], k: number) =>
  parsePolicy(
    `${authorities.map(({ url, key }, i) => `witness w${i} ${key} ${url}\n`).join('')}group g ${k} ${authorities.map((_, i) => `w${i}`).join(' ')}\nquorum g\n`,
    { allowNonIntersecting: true },
  );

interface Running {
  readonly cosigner: Cosigner;
  readonly figures: Record<string, StageFigures[string]>;
  readonly alarms: CosignAlarm[];
  readonly finals: { size: number; note: string }[];
  memory: CosignMemory;
}

function run(policy: ReturnType<typeof parsePolicy>, memory: CosignMemory = NO_MEMORY): Running {
  const running: Omit<Running, 'cosigner'> = { figures: {}, alarms: [], finals: [], memory };
  const cosigner = new Cosigner(policy, {
    config: cosignSchema.parse({ timeoutMs: 1_000, retryFirstMs: 10, retryMaxMs: 100 }),
    ca: undefined,
    tiles: directoryTiles(world.ledgerDir),
    keysAt: () => [verifierKey(ORIGIN, world.key.publicKey)],
    monotonicMs: () => performance.now(),
    load: () => running.memory,
    save: (latest) => {
      running.memory = latest;
    },
    onCosigned: (note, size, final) => {
      if (final) running.finals.push({ size, note });
    },
    onAlarm: (alarm) => running.alarms.push(alarm),
    report: (figures) => Object.assign(running.figures, figures),
    log: () => {},
  });
  closers.push(() => cosigner.close());
  return Object.assign(running, { cosigner });
}

const until = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 30_000, interval: 10 });

function seal(blocks: number): void {
  for (let i = 0; i < blocks; i += 1) {
    sealer.heartbeat();
    if (sealer.roundFull) sealer.commit();
  }
  sealer.commit();
}

test('a checkpoint is final once a quorum has cosigned, and its note says by whom', async () => {
  const policy = policyOf([await honest('a'), await honest('b'), await honest('c')], 2);
  const { cosigner, finals, figures } = run(policy);
  cosigner.offer(sealer.signed!);
  await until(() => expect(figures.final).toBe(true));
  await until(() => expect(figures.authoritiesUp).toBe(3));
  const { note, size } = finals.at(-1)!;
  expect(size).toBe(1);
  expect(cosigners(parseNote(note), policy).size).toBeGreaterThanOrEqual(2);
  expect(cosigners(parseNote(cosigner.withCosignatures(sealer.signed!)), policy).size).toBe(3);
});

test('ten thousand blocks later each authority needs one request', async () => {
  const authorities = [await honest('a'), await honest('b'), await honest('c')];
  const first = run(policyOf(authorities, 2));
  first.cosigner.offer(sealer.signed!);
  await until(() => expect(first.figures.authoritiesUp).toBe(3));
  first.cosigner.close();
  seal(10_000);
  const second = run(policyOf(authorities, 2), first.memory);
  second.cosigner.offer(sealer.signed!);
  await until(() => expect(second.cosigner.finalSize).toBe(10_001));
  await until(() => expect(second.figures['authority.w2.size']).toBe(10_001));
  for (const { url } of authorities) {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).toContain('submissions_total{status="200"} 2');
    expect(metrics).not.toContain('status="409"');
  }
}, 60_000);

test('what it held is asked for again where it was forgotten', async () => {
  const authority = await honest('a');
  const first = run(policyOf([authority], 1));
  first.cosigner.offer(sealer.signed!);
  await until(() => expect(first.figures.final).toBe(true));
  first.cosigner.close();
  seal(5);
  const second = run(policyOf([authority], 1));
  second.cosigner.offer(sealer.signed!);
  await until(() => expect(second.cosigner.finalSize).toBe(6));
  expect(second.alarms).toEqual([]);
});

test('quick and slow authorities sign the same sizes while sealing goes on: a live quorum finalises', async () => {
  const [one, two] = [await honest('a'), await honest('b')];
  // The second answers each request late, by several checkpoints.
  const relay = await other('relay', async ({ oldSize: _ }, response) => void response.writeHead(500).end());
  const slow = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () =>
      setTimeout(async () => {
        try {
          const answer = await fetch(`${two.url}${request.url}`, {
            method: 'POST',
            body: Buffer.concat(parts),
          });
          response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.text());
        } catch {
          // The test ended, and with it the authority behind.
          response.destroy();
        }
      }, 60),
    );
  });
  await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    slow.closeAllConnections();
    slow.close();
  });
  const late = { key: two.key, url: `http://127.0.0.1:${(slow.address() as AddressInfo).port}` };
  const { cosigner, finals, figures } = run(policyOf([one, late, relay], 2));
  const timer = setInterval(() => {
    seal(1);
    cosigner.offer(sealer.signed!);
  }, 10);
  closers.push(() => clearInterval(timer));
  await until(() => expect(finals.length).toBeGreaterThan(3));
  expect(new Set(finals.map(({ size }) => size)).size).toBeGreaterThan(3);
  expect(figures['authority.w2.state']).toBe('failing');
});

describe('bad authorities', () => {
  const signWith = (name: string, note: string, text = parseNote(note).text) => {
    const key = testKey(name);
    const { keyId } = verifierKey(name, key.publicKey, SIGNATURE_TYPE.cosignature);
    const signature = key.sign(cosignatureMessage(text, 1_763_600_000));
    return formatSignatureLine({
      name,
      keyId,
      signature: formatCosignature({ timeSeconds: 1_763_600_000, signature }),
    });
  };
  const bad: [string, Answer][] = [
    ['nothing', (_request, response) => response.end()],
    ['500', (_request, response) => response.writeHead(500).end()],
    ['429 with a hint', (_request, response) => response.writeHead(429, { 'retry-after': '1' }).end()],
    ['404', (_request, response) => response.writeHead(404).end('who?')],
    [
      'a redirect',
      (_request, response) => response.writeHead(302, { location: 'http://127.0.0.1:9/' }).end(),
    ],
    ['409 without a body', (_request, response) => response.writeHead(409).end()],
    [
      '409 with the size it was given',
      ({ oldSize }, response) => response.writeHead(409).end(`${oldSize}\n`),
    ],
    [
      '409 with another size each time',
      (_request, response, count) => response.writeHead(409).end(`${count % 2}\n`),
    ],
    ['409 with 2^64', (_request, response) => response.writeHead(409).end('18446744073709551616\n')],
    ['no text', (_request, response) => response.end(Buffer.from([0xff, 0xfe, 0x0a]))],
    ['a cosignature of another key', ({ note }, response) => response.end(signWith('stranger', note))],
    [
      'a cosignature of another text',
      ({ note }, response) => response.end(signWith('bad', note, 'other\n1\nAAAA\n')),
    ],
    [
      'an answer without end',
      (_request, response) => {
        const more = setInterval(() => response.write('x'.repeat(10_000)), 1);
        response.on('close', () => clearInterval(more));
      },
    ],
    ['a closed connection', (_request, response) => response.destroy()],
    ['silence', () => {}],
  ];

  test.each(bad)(
    '%s: the others make it final, nothing of it counts, and it is asked less and less',
    async (_what, answer) => {
      const liar = await other('bad', answer);
      const policy = policyOf([await honest('a'), liar, await honest('c')], 2);
      const { cosigner, figures, finals, alarms } = run(policy);
      cosigner.offer(sealer.signed!);
      await until(() => expect(figures.final).toBe(true));
      await until(() => expect(['failing', 'refused']).toContain(figures['authority.w1.state']));
      seal(1);
      cosigner.offer(sealer.signed!);
      await until(() => expect(cosigner.finalSize).toBe(2));
      expect(cosigners(parseNote(finals.at(-1)!.note), policy)).toEqual(new Set(['w0', 'w2']));
      expect(alarms).toEqual([]);
    },
  );

  test('an answer with its cosignature among others is good', async () => {
    const chatty = await other('bad', ({ note }, response) =>
      response.end(`hello\n${signWith('stranger', note)}${signWith('bad', note)}`),
    );
    const { cosigner, figures } = run(policyOf([chatty], 1));
    cosigner.offer(sealer.signed!);
    await until(() => expect(figures.final).toBe(true));
  });

  test('a quorum of one lets one authority make it final, and the policy says what that is worth', async () => {
    const { figures } = policyOf([await honest('a'), await honest('b')], 1);
    expect(figures).toMatchObject({ smallestQuorum: 1, overlap: 0, mayLie: 0 });
    const policy = policyOf([await honest('a'), await honest('b')], 1);
    expect(() => parsePolicy(policy.text)).toThrow('need not share an authority');
  });
});

describe('an authority that claims to hold more than was ever signed', () => {
  interface Claim {
    /** What it shows under /<origin>/checkpoint; null: nothing. */
    readonly shows?: () => string | null;
  }
  /** Answers every submission with 409 and a size of its own. */
  async function claimant(name: string, { shows = () => null }: Claim = {}): Promise<TestAuthority> {
    const server = createServer((request, response) => {
      request.resume().on('end', () => {
        const note = request.method === 'GET' && request.url?.endsWith('/checkpoint') ? shows() : null;
        if (note !== null) response.end(note);
        else if (request.method === 'GET') response.writeHead(404).end();
        else response.writeHead(409, { 'content-type': 'text/x.tlog.size' }).end('1000\n');
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => {
      server.closeAllConnections();
      server.close();
    });
    const key = formatVerifierKey(verifierKey(name, testKey(name).publicKey, SIGNATURE_TYPE.cosignature));
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, key };
  }

  const forged = (size: number) => {
    const text = `${ORIGIN}\n${size}\n${Buffer.alloc(32, 5).toString('base64')}\n`;
    const key = testKey('mallory');
    const { name, keyId } = verifierKey(ORIGIN, key.publicKey);
    const signature = key.sign(new TextEncoder().encode(text));
    return formatNote({ text, signatures: [{ name, keyId, signature }] });
  };
  const shown: [string, () => string | null][] = [
    ['nothing', () => null],
    ['no note', () => 'hello\n'],
    ['a checkpoint signed by somebody else', () => forged(1_000)],
    ['the newest checkpoint of this gateway', () => sealer.signed!.note],
    ['that with another size in it', () => sealer.signed!.note.replace(/\n\d+\n/, '\n1000\n')],
  ];
  test.each(shown)('and shows %s: an alarm, and sealing and finality go on', async (_what, shows) => {
    const policy = policyOf([await honest('a'), await claimant('bad', { shows }), await honest('c')], 2);
    const { cosigner, figures, alarms } = run(policy);
    await cosigner.probe(sealer.signed!, 30_000);
    for (let i = 0; i < 3; i += 1) {
      seal(1);
      cosigner.offer(sealer.signed!);
      await until(() => expect(cosigner.finalSize).toBe(sealer.signed!.size));
    }
    await until(() => expect(figures['authority.w1.failures']).toBeGreaterThan(1));
    expect(alarms.map(({ kind, authority }) => [kind, authority])).toEqual([['claim-unproven', 'w1']]);
    expect(figures).toMatchObject({ alarm: 'claim-unproven', 'authority.w1.state': 'claims' });
    expect(figures.alarmMessage).toContain('no proof');
  });

  test('and shows a checkpoint that our own key has signed: rolled back, from one authority', async () => {
    const early = sealer.signed!;
    seal(3);
    const { note } = sealer.signed!;
    const policy = policyOf(
      [await honest('a'), await claimant('bad', { shows: () => note }), await honest('c')],
      2,
    );
    const { cosigner, alarms } = run(policy);
    await cosigner.probe(early, 30_000);
    expect(alarms.map(({ kind, authority }) => [kind, authority])).toEqual([['rolled-back', 'w1']]);
  });

  test('as so many others do that no quorum is left without them: rolled back', async () => {
    const policy = policyOf([await honest('a'), await claimant('bad'), await claimant('worse')], 2);
    const { cosigner, alarms } = run(policy);
    await cosigner.probe(sealer.signed!, 30_000);
    expect(alarms.map(({ kind }) => kind)).toEqual(['claim-unproven', 'rolled-back']);
  });
});

describe('a disk that was rolled back', () => {
  test('an authority that holds more than was signed here: an alarm before anything is signed', async () => {
    const authority = await honest('a');
    const before = run(policyOf([authority], 1));
    const early = sealer.signed!;
    seal(3);
    before.cosigner.offer(sealer.signed!);
    await until(() => expect(before.figures.final).toBe(true));
    before.cosigner.close();
    // The old disk remembers what the authority held then.
    const line = before.memory.authorities;
    const old = Object.fromEntries(
      Object.entries(line).map(([id, { line: text }]) => [id, { size: 1, line: text }]),
    );
    for (const memory of [NO_MEMORY, { ...NO_MEMORY, authorities: old }]) {
      const after = run(policyOf([authority], 1), memory);
      // Its own newest is the early one: nothing later is on that disk.
      await after.cosigner.probe(early, 30_000);
      expect(after.alarms.map(({ kind }) => kind)).toEqual(['rolled-back']);
      expect(after.figures).toMatchObject({ alarm: 'rolled-back', final: false });
    }
  });

  test('and went on from there: the authority’s tree is not the one this one extends', async () => {
    const authority = await honest('a');
    const twin = new World();
    closers.push(() => twin.close());
    Object.assign(twin.key, world.key);
    const first = run(policyOf([authority], 1));
    seal(2);
    first.cosigner.offer(sealer.signed!);
    await until(() => expect(first.figures.final).toBe(true));
    // Another history under the same key, longer than what the authority holds.
    twin.clock.advance(12_345);
    const another = await twin.open();
    for (let i = 0; i < 6; i += 1) another.heartbeat();
    another.commit();
    const honestWorld = world;
    world = twin;
    const second = run(policyOf([authority], 1));
    world = honestWorld;
    second.cosigner.offer(another.signed!);
    await until(() => expect(second.alarms.map(({ kind }) => kind)).toEqual(['forked']));
    expect(second.figures).toMatchObject({ alarm: 'forked', final: false });
    expect(await (await fetch(`${authority.url}/evidence`)).json()).toHaveLength(1);
  });
});
