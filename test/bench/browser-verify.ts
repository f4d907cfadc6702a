// What a verification takes in a browser: the published verifier, bundled as for a page, over real proofs in Chromium.
import { join } from 'node:path';
import { build, type Rolldown } from 'vite';
import { launch, noBrowser } from '../gateway/dashboard/browser.ts';
import { Latencies } from './latencies.ts';

/** Calls before those that count. */
const WARM_UP = 10;

interface Verifier {
  verifyProof(text: string, options: { gatewayKey: string }): { valid: boolean };
}

/** Durations of verifications, or why there are none. @throws Error for a proof that does not verify */
export async function verifyInBrowser(
  proofs: readonly string[],
  gatewayKey: string,
): Promise<Latencies | string> {
  if (noBrowser !== null) return noBrowser;
  const script = await bundle();
  const browser = await launch();
  try {
    const page = await browser.newPage();
    await page.addScriptTag({ content: script });
    const took = await page.evaluate(
      ({ texts, key, warmUp }) => {
        const { verifyProof } = (globalThis as unknown as { tidemarkVerify: Verifier }).tidemarkVerify;
        return [...texts.slice(0, warmUp), ...texts].map((text) => {
          const began = performance.now();
          if (!verifyProof(text, { gatewayKey: key }).valid) throw new Error('a proof does not verify');
          return performance.now() - began;
        });
      },
      { texts: [...proofs], key: gatewayKey, warmUp: WARM_UP },
    );
    const latencies = new Latencies();
    for (const tookMs of took.slice(Math.min(WARM_UP, proofs.length))) latencies.add(tookMs);
    return latencies;
  } finally {
    await browser.close();
  }
}

async function bundle(): Promise<string> {
  const built = await build({
    configFile: false,
    logLevel: 'silent',
    root: join(import.meta.dirname, '../..'),
    build: {
      write: false,
      minify: true,
      lib: { entry: 'ledger/verify/index.ts', formats: ['iife'], name: 'tidemarkVerify', fileName: 'verify' },
    },
  });
  const [output] = (Array.isArray(built) ? built : [built]) as Rolldown.RolldownOutput[];
  return output!.output[0].code;
}
