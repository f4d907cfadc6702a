// The command line as its user meets it: help for every command, refusals that say what to do, exit codes.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { COMMANDS } from '../../cli/commands.ts';
import { ROOT, tidemark } from '../support/processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'tidemark-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('help', () => {
  test('the overview names every command', async () => {
    const { code, stdout } = await tidemark(['--help']);
    expect(code).toBe(0);
    for (const command of COMMANDS) expect(stdout).toContain(command.name);
  });

  test.each(COMMANDS.map((command) => command.name))(
    '%s has a summary and an example, and its module loads',
    async (name) => {
      const command = COMMANDS.find((candidate) => candidate.name === name)!;
      expect(command.examples.length).toBeGreaterThan(0);
      expect(typeof (await command.load()).run).toBe('function');
    },
  );

  test('help of one command goes to standard output and exits 0', async () => {
    const { code, stdout } = await tidemark(['prove', '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/usage: tidemark prove/);
    expect(stdout).toMatch(/examples:/);
  });
});

test('the help of a family of commands lists them', async () => {
  const { code, stdout } = await tidemark(['device', '--help']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/device revoke {2}end everything of a name/);
});

test('where no gateway answers, the exit code is 3 and the next step is said', async () => {
  const closed = createServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const { port } = closed.address() as AddressInfo;
  await new Promise((resolve) => closed.close(resolve));
  for (const words of [
    ['audit', `http://127.0.0.1:${port}`],
    ['prove', '-o', '1', '--url', `http://127.0.0.1:${port}`],
    ['sim', 'load', '--mqtt', `mqtt://127.0.0.1:${port}`],
  ]) {
    const { code, stderr } = await tidemark(words, '', folder);
    expect(stderr).toMatch(/does not answer.*\n {2}is the gateway running/);
    expect(code).toBe(3);
  }
});

describe('wrong words', () => {
  test.each([
    [['serv'], /did you mean `serve`/],
    [['prove'], /--offset/],
    [['prove', '--offset', '-1'], /offset/],
    [['prove', '--offset', '9007199254740993'], /offset/],
    [['verify'], /usage: tidemark verify/],
    [['verify', join(folder, 'none.json')], /none\.json/],
    [['config'], /check\|show\|schema/],
    [['serve', '--prot', '1'], /there is no option --prot/],
    [['serve', '--confg', 'x'], /did you mean --config/],
    [['device', 'ad'], /did you mean `device add`/],
    [['fsck', join(folder, 'none')], /does not exist\n {2}name the data directory/],
    [['backup', join(folder, 'b'), '-d', join(folder, 'none')], /does not exist\n {2}give --data-dir/],
    [['restore', folder, '--data-dir', join(folder, 'r')], /`tidemark backup`/],
    [['authority', '-c', join(folder, 'none.yaml')], /none\.yaml\n {2}give --config/],
  ])('%j exits 2 and says why', async (words, message) => {
    const { code, stderr } = await tidemark(words, '', folder);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });
});

describe('configuration', () => {
  const check = async (yaml: string, env: Record<string, string> = {}) => {
    const file = join(folder, 'tidemark.yaml');
    writeFileSync(file, yaml);
    const result = spawnSync(process.execPath, [join(ROOT, 'bin', 'tidemark.ts'), 'config', 'check', file], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
    });
    return { code: result.status, text: result.stdout + result.stderr, file };
  };

  test('an unknown key: file, line, field, and the likely one', async () => {
    const { code, text, file } = await check('origin: a.example.com/gw\nmqtt:\n  prot: 1884\n');
    expect(code).toBe(2);
    expect(text).toContain(`${file}:3:3: mqtt.prot: unknown key, did you mean \`port\`?`);
  });

  test('a value of the wrong kind: file, line, field', async () => {
    const { code, text, file } = await check('mqtt:\n  port: many\n');
    expect(code).toBe(2);
    expect(text).toContain(`${file}:2:3: mqtt.port:`);
  });

  test('YAML that does not parse: file and line', async () => {
    const { code, text, file } = await check('mqtt:\n  port: [1\n');
    expect(code).toBe(2);
    expect(text).toContain(`${file}:`);
  });

  test('an environment variable overrides, and a misspelt one is refused', async () => {
    expect(await check('mqtt:\n  port: 1\n', { TIDEMARK_MQTT_PORT: '1884' })).toMatchObject({
      code: 0,
      text: expect.stringContaining('TIDEMARK_MQTT_PORT'),
    });
    const wrong = await check('', { TIDEMARK_MQTT_PROT: '1884' });
    expect(wrong.code).toBe(2);
    expect(wrong.text).toContain('did you mean TIDEMARK_MQTT_PORT?');
    const bad = await check('', { TIDEMARK_MQTT_PORT: 'many' });
    expect(bad.code).toBe(2);
    expect(bad.text).toContain('TIDEMARK_MQTT_PORT');
  });

  test('what `config show` prints is a configuration that `config check` accepts', async () => {
    const shown = await tidemark(['config', 'show'], '', folder);
    expect(shown.code).toBe(0);
    const checked = await check(shown.stdout);
    expect(checked.code).toBe(0);
    const asOption = await tidemark(['config', 'check', '--config', checked.file]);
    expect(asOption).toMatchObject({ code: 0, stdout: checked.text });
  });

  test('`config schema` describes every key', async () => {
    const text = await tidemark(['config', 'schema']);
    expect(text.stdout).toContain('mqtt.port');
    expect(text.stdout).toContain('TIDEMARK_MQTT_PORT');
    const json = JSON.parse((await tidemark(['config', 'schema', '--json'])).stdout) as {
      properties: object;
    };
    expect(Object.keys(json.properties)).toContain('mqtt');
  });
});

const oldNode = ['/usr/bin/node', '/usr/local/bin/node'].find(
  (path) => existsSync(path) && /^v(1\d|20|21)\./.test(spawnSync(path, ['-v'], { encoding: 'utf8' }).stdout),
);

test.skipIf(!oldNode)(
  'a Node that is too old is told so in one line (skipped where no older Node is installed)',
  () => {
    const result = spawnSync(oldNode!, [join(ROOT, 'bin', 'tidemark.ts'), 'version'], { encoding: 'utf8' });
    expect(result.status).toBe(2);
    expect(result.stderr.trim().split('\n')).toHaveLength(1);
    expect(result.stderr).toMatch(/needs Node\.js 22\.18 or newer/);
  },
);
