// Debian's Chromium for tests of the page, and the page itself, built as a release builds it.
import { existsSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { build } from 'vite';

export const CHROMIUM = '/usr/bin/chromium';

/** Why browser tests cannot run here, or null. */
export const noBrowser = existsSync(CHROMIUM) ? null : `there is no ${CHROMIUM} on this machine`;

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** Builds the dashboard into a new temporary folder; returns its path. */
export async function buildDashboard(): Promise<string> {
  const outDir = await mkdtemp(join(tmpdir(), 'tidemark-dashboard-'));
  await build({
    root: resolve(import.meta.dirname, '../../../gateway/dashboard'),
    build: { outDir },
    logLevel: 'error',
  });
  return outDir;
}
