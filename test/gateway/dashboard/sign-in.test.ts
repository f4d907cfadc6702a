// The dashboard of a gateway that lets nobody in without a name, in a real browser.
import { rm } from 'node:fs/promises';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from '../access/world.ts';
import { reading, startTestGateway, type TestGateway } from '../api/gateway.ts';
import { buildDashboard, launch, noBrowser } from './browser.ts';

describe.skipIf(noBrowser !== null)('the dashboard with names', () => {
  let dashboardDir: string;
  let world: World;
  let gateway: TestGateway;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    dashboardDir = await buildDashboard();
    world = new World({ anonymous: 'off' });
    world.nowMs = Date.now();
    const before = Array.from({ length: 3 }, (_, i) => reading('pump-1', { value: i }));
    gateway = await startTestGateway({ dashboardDir, access: world.access, before });
    browser = await launch();
    page = await browser.newPage();
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
    world.close();
    await rm(dashboardDir, { recursive: true, force: true });
  });

  const signIn = async (token: string) => {
    await page.getByLabel('Access token').fill(token);
    await page.getByRole('button', { name: 'Sign in' }).click();
  };

  test('asks for a token, takes a right one, and is live with it', async () => {
    const { secret } = await world.admin.add({ name: 'anna', role: 'operator', secret: 'token' }, 'test');
    await page.goto(gateway.url);
    await page.getByTestId('line').getByText('Signed out').waitFor();
    await page.getByText('Access without a name is switched off here').waitFor();
    await signIn('tm_wrong');
    await page.getByText('The credentials are wrong, expired or revoked.').waitFor();
    await signIn(secret!);
    await page.getByTestId('line').getByText('Live').waitFor();
    await page.getByTestId('tile-records').getByText('3', { exact: true }).waitFor();
    // It outlives a reload of the page, and stands in no cookie.
    await page.reload();
    await page.getByTestId('line').getByText('Live').waitFor();
    expect(await page.context().cookies()).toEqual([]);
  }, 60_000);

  test('a device’s token may not read', async () => {
    const { secret } = await world.admin.add({ name: 'pump-1', secret: 'token' }, 'test');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await signIn(secret!);
    await page.getByText('pump-1 (device) may not read records, figures and devices.').waitFor();
  }, 60_000);

  test('a stream ends with the rights of whoever reads it', async () => {
    const { secret } = await world.admin.add({ name: 'bert', role: 'auditor', secret: 'token' }, 'test');
    await signIn(secret!);
    await page.getByTestId('line').getByText('Live').waitFor();
    await world.admin.revoke({ name: 'bert' }, 'test');
    await page.getByTestId('line').getByText('Signed out').waitFor();
    await page.getByLabel('Access token').waitFor();
  }, 60_000);
});
