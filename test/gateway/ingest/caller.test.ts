// Who may talk to the gateway without credentials.
import { describe, expect, test } from 'vitest';
import { CallerGuard } from '../../../gateway/ingest/caller.ts';

interface Given {
  readonly peer?: string | undefined;
  readonly host?: string | undefined;
  readonly origin?: string;
}

const guardOf = (host = '127.0.0.1', allowedHosts: string[] = []) => new CallerGuard({ host, allowedHosts });

function codeOf(given: Given, guard = guardOf()): string {
  const { peer, host, origin } = { peer: '127.0.0.1', host: 'localhost:8080', origin: undefined, ...given };
  return guard.judge({ socket: { remoteAddress: peer }, headers: { host, origin } })?.code ?? 'admitted';
}

describe('the peer', () => {
  test.each(['127.0.0.1', '127.9.8.7', '::1', '::ffff:127.0.0.1'])('%s is this machine', (peer) => {
    expect(codeOf({ peer })).toBe('admitted');
  });

  test.each([
    '10.0.0.7',
    '192.168.1.2',
    '::ffff:10.0.0.1',
    'fe80::1',
    '127.0.0.1.example.com',
    '1270.0.0.1',
    undefined,
  ])('%s is not', (peer) => {
    expect(codeOf({ peer })).toBe('loopback-only');
  });
});

describe('the Host header', () => {
  test.each(['localhost', 'LOCALHOST:8080', 'localhost.', '127.0.0.1:80', '[::1]:8080', 'gw.localhost:8080'])(
    '%s is a name of this machine',
    (host) => {
      expect(codeOf({ host })).toBe('admitted');
    },
  );

  test.each([
    'evil.example',
    'evil.example:8080',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '127.0.0.1@evil.example',
    '10.0.0.7:8080',
    'a b',
    '',
    undefined,
  ])('%s is not', (host) => {
    expect(codeOf({ host })).toBe('host-not-allowed');
  });

  test('configured names and the address listened on are accepted, wildcards are not', () => {
    const guard = guardOf('192.168.1.5', ['Gateway.Plant.Example']);
    expect(codeOf({ host: 'gateway.plant.example:8080' }, guard)).toBe('admitted');
    expect(codeOf({ host: '192.168.1.5:8080' }, guard)).toBe('admitted');
    expect(codeOf({ host: 'other.plant.example' }, guard)).toBe('host-not-allowed');
    expect(codeOf({ host: '0.0.0.0:8080' }, guardOf('0.0.0.0'))).toBe('host-not-allowed');
    expect(codeOf({ host: '[::]:8080' }, guardOf('::'))).toBe('host-not-allowed');
    expect(codeOf({ host: '[fd00::5]:8080' }, guardOf('fd00::5'))).toBe('admitted');
  });
});

describe('the Origin header', () => {
  test('a page this gateway served may call it', () => {
    expect(codeOf({ origin: 'http://localhost:8080' })).toBe('admitted');
  });

  test.each(['http://evil.example', 'http://localhost:3000', 'null', 'garbage'])(
    'a page of %s may not',
    (origin) => {
      expect(codeOf({ origin })).toBe('origin-not-allowed');
    },
  );
});

test('a refusal is a 403 that says what to do, and is counted once by its code', () => {
  const guard = guardOf();
  const headers = { host: 'localhost', origin: 'http://evil.example' };
  const refusal = guard.judge({ socket: { remoteAddress: '127.0.0.1' }, headers });
  expect(refusal).toEqual({ status: 403, code: 'origin-not-allowed', detail: expect.any(String) });
  codeOf({ peer: '10.0.0.7' }, guard);
  codeOf({ peer: '10.0.0.7' }, guard);
  codeOf({}, guard);
  expect(guard.refused).toEqual({ 'loopback-only': 2, 'host-not-allowed': 0, 'origin-not-allowed': 1 });
});
