// The verify page as an auditor uses it: saved to disk, opened from there in a real browser, without any network.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { makeVerifyPage } from '../../../gateway/dashboard/verify/plugin.ts';
import { formatVerifierKey, parseVerifierKey, verifierKey } from '../../../ledger/format/note.ts';
import { testKey } from '../../ledger/format/native.ts';
import { gatewayKeyText, policyText, sampleProof } from '../../ledger/verify/sample.ts';
import { startTestGateway } from '../api/gateway.ts';
import { buildDashboard, launch, noBrowser } from './browser.ts';

test('one file: nothing is loaded, and its policy lets only its own script run', async () => {
  const page = await makeVerifyPage();
  expect(page).not.toMatch(/\b(src|href)=|url\(|@import|import\(|fetch\(|XMLHttpRequest|WebSocket/);
  expect(page).toMatch(/default-src 'none'; script-src 'sha256-[A-Za-z0-9+/]{43}='/);
  expect(Buffer.byteLength(page)).toBeLessThan(60_000);
});

describe.skipIf(noBrowser !== null)('in a browser', () => {
  let folder: string;
  let browser: Browser;
  let page: Page;
  const problems: string[] = [];
  const requests: string[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tidemark-verify-'));
    await writeFile(join(folder, 'saved.html'), await makeVerifyPage());
    browser = await launch();
    const context = await browser.newContext({ offline: true });
    page = await context.newPage();
    page.on('console', (message) => problems.push(message.text()));
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('request', (request) => requests.push(request.url()));
  });
  beforeEach(async () => {
    await page.goto(pathToFileURL(join(folder, 'saved.html')).href);
  });
  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const verify = async (proof: string, trust: string) => {
    await page.fill('#proof', proof);
    await page.fill('#trust', trust);
    await page.click('#verify');
    return page.locator('#verdict').getAttribute('data-status');
  };

  test('a proof that another policy or key may have been in force for: says where to ask', async () => {
    const hint = async () =>
      (await page.locator('#result').textContent())!.includes('tidemark verify --state');
    expect(await verify(sampleProof(38, ['vendor', 'operator']), policyText)).toBe('final');
    expect(await hint()).toBe(false);
    expect(await verify(sampleProof(38, ['vendor']), `# another text\n${policyText}`)).toBe('pending');
    expect(await hint()).toBe(true);
    const { name } = parseVerifierKey(gatewayKeyText);
    const other = formatVerifierKey(verifierKey(name, testKey('another gateway').publicKey));
    expect(await verify(sampleProof(38, []), other)).toBe('invalid');
    expect(await hint()).toBe(true);
  });

  test('final, pending, by key, and without anything to trust', async () => {
    expect(await verify(sampleProof(38, ['vendor', 'operator']), policyText)).toBe('final');
    expect(await page.locator('li[data-ok=true]').count()).toBe(6);
    expect(await page.locator('#result').textContent()).toContain('plant/pump-2/vibration');
    expect(await verify(sampleProof(38, ['vendor']), policyText)).toBe('pending');
    expect(await verify(sampleProof(38, []), `${gatewayKeyText}\n`)).toBe('signed-by-gateway-only');
    expect(await verify(sampleProof(38, []), '')).toBe('integrity-only');
  });

  test('a changed payload, a proof that is none, a key that is none', async () => {
    const file = JSON.parse(sampleProof(38, ['vendor', 'operator'])) as { record: { payload: string } };
    file.record.payload = 'e30=';
    expect(await verify(JSON.stringify(file), policyText)).toBe('invalid');
    expect(await page.locator('li[data-ok=false]').textContent()).toContain('batch root');
    expect(await verify('{', policyText)).toBe('unusable');
    await page.fill('#trust', 'nonsense');
    await page.click('#verify');
    expect(await page.locator('#result').textContent()).toContain('The key cannot be read');
  });

  test('files are read as chosen', async () => {
    await writeFile(join(folder, 'p.json'), sampleProof(38, ['vendor', 'operator']));
    await writeFile(join(folder, 'policy.txt'), policyText);
    await page.setInputFiles('#trust-file', join(folder, 'policy.txt'));
    await page.setInputFiles('#proof-file', join(folder, 'p.json'));
    await page.locator('#verdict[data-status=final]').waitFor();
  });

  test('nothing was asked of any network and nothing went wrong on the way', () => {
    expect(requests.filter((url) => !url.startsWith('file:'))).toEqual([]);
    expect(problems).toEqual([]);
  });

  test('the gateway serves it with the policy that it brings', async () => {
    const dashboardDir = await buildDashboard();
    const gateway = await startTestGateway({ dashboardDir });
    const served = await (await browser.newContext()).newPage();
    try {
      await served.goto(`${gateway.url}/verify.html`);
      await served.fill('#proof', sampleProof(38, ['vendor', 'operator']));
      await served.fill('#trust', policyText);
      await served.click('#verify');
      await served.locator('#verdict[data-status=final]').waitFor();
      expect(await readFile(join(dashboardDir, 'verify.html'), 'utf8')).toBe(await makeVerifyPage());
    } finally {
      await served.close();
      await gateway.close();
      await rm(dashboardDir, { recursive: true, force: true });
    }
  });
});
