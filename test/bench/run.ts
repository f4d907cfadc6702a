// `npm run bench -- NAME`: runs one benchmark. Benchmarks print what they measured; they never pass or fail.
interface Benchmark {
  main(argv: readonly string[]): Promise<void>;
}

const BENCHMARKS: Record<string, () => Promise<Benchmark>> = {
  ingest: () => import('./ingest.ts'),
  log: async () => {
    const parts = [await import('./log-append.ts'), await import('./log-read.ts')];
    return {
      main: async (argv) => {
        if (argv.length > 0)
          throw new Error('options belong to log-append and log-read: run them one by one');
        for (const part of parts) await part.main([]);
      },
    };
  },
  'log-append': () => import('./log-append.ts'),
  'log-read': () => import('./log-read.ts'),
  seal: () => import('./seal.ts'),
  proofs: () => import('./proofs.ts'),
  gateway: () => import('./gateway.ts'),
  http: () => import('./http.ts'),
  fairness: () => import('./fairness.ts'),
  profile: () => import('./profile.ts'),
};

const [name, ...rest] = process.argv.slice(2);
const benchmark = BENCHMARKS[name ?? ''];
if (!benchmark) {
  console.error(`usage: npm run bench -- ${Object.keys(BENCHMARKS).join('|')} [options]`);
  process.exit(2);
}
await (await benchmark()).main(rest);
