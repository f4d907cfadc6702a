// The dashboard in a real browser, served by the real server from a real log and ledger.
import { readdir, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyProof } from '../../../ledger/verify/index.ts';
import { anomaly, ORIGIN, reading, startTestGateway, type TestGateway } from '../api/gateway.ts';
import { buildDashboard, launch, noBrowser } from './browser.ts';

if (noBrowser) console.log(`dashboard tests are skipped: ${noBrowser}`);

/** Shown as text everywhere, or it would run. */
const HOSTILE = '<img src=x onerror="window.injected=true">';

let dashboardDir: string;

beforeAll(async () => {
  dashboardDir = await buildDashboard();
});

afterAll(() => rm(dashboardDir, { recursive: true, force: true }));

describe.skipIf(noBrowser !== null)('the dashboard', () => {
  let gateway: TestGateway;
  let browser: Browser;
  let page: Page;
  const errors: string[] = [];

  beforeAll(async () => {
    gateway = await startTestGateway({
      seal: true,
      dashboardDir,
      before: [
        ...Array.from({ length: 20 }, (_, i) => reading(`pump-${i % 4}`, { value: i })),
        reading(HOSTILE, { value: HOSTILE }),
        anomaly(HOSTILE, 12.5, 20),
      ],
    });
    gateway.devices = [
      {
        device: HOSTILE,
        topics: [HOSTILE, 'a/b'],
        records: 1,
        lastMs: Date.now(),
        lastOffset: 20,
        source: 1,
      },
      {
        device: 'pump-0',
        topics: ['plant/pump-0/vibration'],
        records: 1234,
        lastMs: Date.now() - 60_000,
        lastOffset: 16,
        source: 3,
      },
    ];
    browser = await launch();
    page = await browser.newPage();
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') errors.push(message.text());
    });
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.goto(gateway.url);
    await page.getByTestId('line').getByText('Live').waitFor();
  });

  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
  });

  const textOf = async (id: string) => (await page.getByTestId(id).textContent()) ?? '';
  /** Earlier, the page would ask twice, and Chromium would note the first answer, 409, as an error. */
  const sealedPast = async (offset: number) => {
    for (;;) {
      const { ledger } = (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as {
        ledger: { sealed: number };
      };
      if (ledger.sealed > offset) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const prove = async (offset: string) => {
    await page.getByLabel('Offset').fill(offset);
    await page.getByRole('button', { name: 'Prove', exact: true }).click();
  };

  test('names the gateway and shows figures that move', async () => {
    await page.getByText(ORIGIN).waitFor();
    expect(await page.title()).toBe(`${ORIGIN} · Tidemark`);
    await page.getByTestId('tile-records').getByText('22', { exact: true }).waitFor();
    await gateway.log.appendAll(Array.from({ length: 1000 }, (_, i) => reading('pump-1', { value: i })));
    await page.getByTestId('tile-records').getByText('1,022', { exact: true }).waitFor();
    expect(await textOf('tile-devices')).toContain('2');
    expect(await textOf('tile-forwarder')).toContain('no forwarder configured');
    expect(await page.locator('canvas').count()).toBe(1);
  });

  test('verifies a record in the browser, step by step', async () => {
    await prove('7');
    await page.getByTestId('verdict').getByText('Valid, signed by this gateway').waitFor();
    const steps = await page
      .getByTestId('step')
      .evaluateAll((items) => items.map((item) => item.getAttribute('data-ok')));
    expect(steps).toEqual(['true', 'true', 'true', 'true', 'true', 'null']);
    expect(await textOf('payload')).toBe('{"value":7}');
    expect(await textOf('alone')).toContain('A gateway alone proves little');
  });

  test('names the step that fails once a byte is flipped, and is content again when it is put back', async () => {
    await page.getByRole('button', { name: 'Flip one byte' }).click();
    await page.getByTestId('verdict').getByText('Not valid').waitFor();
    expect(await textOf('verdict')).toContain('the step “batch root” fails');
    expect(await page.locator('[data-testid=step][data-ok=false]').count()).toBe(1);
    expect(await textOf('payload')).not.toBe('{"value":7}');
    await page.getByRole('button', { name: 'Put the byte back' }).click();
    await page.getByTestId('verdict').getByText('Valid, signed by this gateway').waitFor();
    expect(await textOf('payload')).toBe('{"value":7}');
  });

  test('the downloaded proof verifies outside the browser', async () => {
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Download proof' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('record-7.tidemark-proof.json');
    const report = verifyProof(await readFile(await download.path(), 'utf8'), {
      gatewayKey: gateway.publicKey,
    });
    expect(report).toMatchObject({ valid: true, record: { offset: 7 } });
  });

  test('an anomaly arrives by itself and a click proves it', async () => {
    const offset = await gateway.appendDerived([anomaly('pump-3', 42.5, 3)]);
    await page.getByTestId('anomaly').first().getByText('42.5').waitFor();
    await sealedPast(offset);
    await page.getByTestId('anomaly').first().click();
    await page.getByTestId('payload').getByText('"score":42.5').waitFor();
    expect(await page.getByLabel('Offset').inputValue()).toBe(String(offset));
    await page.getByRole('button', { name: 'record 3' }).click();
    await page.getByTestId('payload').getByText('{"value":3}').waitFor();
  });

  test('what a device calls itself is never markup', async () => {
    await page.getByTestId('anomaly').getByText(HOSTILE).waitFor();
    await page.getByRole('table').first().getByText(HOSTILE).first().waitFor();
    await prove('20');
    await page.getByTestId('payload').getByText('window.injected').waitFor();
    expect(await page.evaluate("'injected' in window")).toBe(false);
  });

  test('a wrong offset is explained', async () => {
    await prove('minus one');
    expect(await textOf('prove-problem')).toContain('An offset is a whole number');
    expect(errors).toEqual([]);
    await prove('123456789');
    await page.getByTestId('prove-problem').getByText('There is no record 123456789 here').waitFor();
    // Chromium itself notes the 404 that was asked for.
    expect(errors.splice(0)).toEqual([expect.stringContaining('404')]);
  });

  test('fits a phone without scrolling sideways', async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360);
  });

  test('says so when the gateway is gone', async () => {
    expect(errors).toEqual([]);
    await gateway.close();
    await page.getByTestId('line').getByText('Reconnecting').waitFor();
    await page.getByText('The gateway does not answer.').first().waitFor();
  });
});

test('a build holds no path of this machine and no inline script', async () => {
  const root = resolve(import.meta.dirname, '../../..');
  for (const entry of await readdir(dashboardDir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const text = await readFile(join(entry.parentPath, entry.name), 'utf8');
    expect(text).not.toContain(root);
    // The page for saving brings a policy that names its one script: see verify-page.test.ts.
    if (entry.name.endsWith('.html') && entry.name !== 'verify.html')
      expect(text).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\son\w+=/);
  }
});
