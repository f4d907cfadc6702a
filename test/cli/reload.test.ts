import { describe, expect, test } from 'vitest';
import { type GatewayConfig, gatewayConfig } from '../../cli/config/schema.ts';
import { CommandError } from '../../cli/errors.ts';
import { changedKeys, type Reloadable, Reloader } from '../../cli/gateway/reload.ts';
import type { Act } from '../../gateway/access/acts.ts';

const configOf = (input: object = {}): GatewayConfig => gatewayConfig.parse(input);

function world(parts: readonly Reloadable[]) {
  const acts: Act[] = [];
  const file: { config: GatewayConfig | Error } = { config: configOf() };
  const reloader = new Reloader({
    inForce: configOf(),
    load: () => {
      if (file.config instanceof Error) throw file.config;
      return file.config;
    },
    parts,
    record: async (some) => {
      acts.push(...some);
    },
  });
  return { acts, file, reloader };
}

describe('a reload', () => {
  test('gives each part what changed for it, and names what waits for a restart, until it is set back', async () => {
    const got: GatewayConfig[] = [];
    const { acts, file, reloader } = world([
      { keys: ['pressure'], apply: (config) => void got.push(config) },
    ]);
    file.config = configOf({ pressure: { shedAt: 0.95 }, http: { port: 9 } });
    expect(await reloader.apply('SIGHUP')).toEqual({ applied: ['pressure.shedAt'], restart: ['http.port'] });
    expect(got.map(({ pressure, http }) => [pressure.shedAt, http.port])).toEqual([[0.95, 8080]]);
    expect(await reloader.apply('SIGHUP')).toEqual({ applied: [], restart: ['http.port'] });
    file.config = configOf({ pressure: { shedAt: 0.95 } });
    expect(await reloader.apply('SIGHUP')).toEqual({ applied: [], restart: [] });
    expect(got).toHaveLength(1);
    expect(acts[0]).toEqual({
      ...{ act: 'configuration-applied', by: 'SIGHUP' },
      ...{ applied: ['pressure.shedAt'], restart: ['http.port'] },
    });
  });

  test('changes nothing where the file, or what it names, can’t be used', async () => {
    let applied = 0;
    const unusable = Object.assign(new Error('no such key'), { code: 'TLS_KEY_INVALID', hint: 'look' });
    const apply = () => {
      applied += 1;
    };
    const check = () => {
      throw unusable;
    };
    const { acts, file, reloader } = world([
      { keys: ['pressure'], apply },
      { keys: ['access'], apply, check },
    ]);
    file.config = configOf({ pressure: { shedAt: 0.95 } });
    await expect(reloader.apply('x')).rejects.toMatchObject({
      exitCode: 2,
      message: 'no such key',
      hint: 'look',
    });
    file.config = new CommandError(2, 'line 3');
    await expect(reloader.apply('x')).rejects.toThrow('line 3');
    expect([applied, acts]).toEqual([0, []]);
  });

  test('takes a file with other contents anew though no key has changed', async () => {
    let applied = 0;
    const part: Reloadable = {
      keys: ['mqtt.tls.cert'],
      check: () => ['mqtt.tls (certificate ab)'],
      apply: () => {
        applied += 1;
      },
    };
    const { reloader } = world([part]);
    expect(await reloader.apply('x')).toEqual({ applied: ['mqtt.tls (certificate ab)'], restart: [] });
    expect(applied).toBe(1);
  });

  test('goes on after one that failed', async () => {
    const { file, reloader } = world([{ keys: ['pressure'], apply: () => {} }]);
    file.config = new CommandError(2, 'bad');
    const first = reloader.apply('x');
    await expect(first).rejects.toThrow('bad');
    file.config = configOf({ pressure: { shedAt: 0.91 } });
    expect((await reloader.apply('x')).applied).toEqual(['pressure.shedAt']);
  });
});

test('changed keys are the deepest that differ; a list is one value', () => {
  expect(changedKeys({ a: { b: 1, c: [1] } }, { a: { b: 1, c: [2] } })).toEqual(['a.c']);
  expect(changedKeys({ a: { b: 1 } }, { a: { b: 1, d: { e: 1 } } })).toEqual(['a.d']);
  expect(changedKeys({ a: null }, { a: { b: 1 } })).toEqual(['a']);
  expect(changedKeys({ a: 1 }, { a: 1 })).toEqual([]);
});
