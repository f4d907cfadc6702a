// Copies closed segments to the cold tier, oldest first, each with its indexes, verified by reading back, its manifest last. A
// log consumer like any other: its cursor is what is copied, and holds retention back. Removes nothing anywhere.
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { offset } from '../../ledger/format/brand.ts';
import { realFs } from '../log/fs.ts';
import { inspectSegment } from '../log/inspect.ts';
import { listSegments, logFolder, segmentFile } from '../log/layout.ts';
import type { StageContext } from '../stage/types.ts';
import { ColdCatalog, type ColdFile, formatColdManifest, stemOf } from './catalog.ts';
import type { ColdConfig } from './config.ts';
import { type ColdStore, openColdStore, removeFile, sha256OfFile } from './store.ts';

const LOOK_MS = 1_000;
const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 300_000;
/** The segment first: without it the others mean nothing. */
const KINDS = ['log', 'index', 'timeindex', 'keys', 'leaves'];
const SCAN_INTERVAL_BYTES = 64 * 1024;

export async function coldStage(
  context: StageContext<ColdConfig>,
  store: ColdStore = openColdStore(context.config, process.env),
): Promise<void> {
  const { signal, report, log } = context;
  const copier = new ColdCopier(context.dataDir, store);
  let next = context.state.loadCursor(context.name)?.next as number | undefined;
  let retryMs = RETRY_FIRST_MS;
  let copied = 0;
  while (!signal.aborted) {
    let pauseMs = LOOK_MS;
    try {
      const end = await copier.copyNext(next ?? 0);
      if (end !== null) {
        context.state.saveCursor(context.name, offset(end));
        next = end;
        copied += 1;
        pauseMs = 0;
      }
      retryMs = RETRY_FIRST_MS;
      report({ next: next ?? 0, copied, lastError: null });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log('warn', `the cold tier took no segment, trying again: ${reason}`, { retryInMs: retryMs });
      report({ lastError: reason });
      pauseMs = retryMs;
      retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
    }
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
  }
}

export class ColdCopier {
  readonly #dataDir: string;
  readonly #store: ColdStore;
  readonly #catalog: ColdCatalog;

  constructor(dataDir: string, store: ColdStore) {
    this.#dataDir = dataDir;
    this.#store = store;
    this.#catalog = new ColdCatalog(dataDir);
  }

  /** Copies the first closed segment that reaches beyond `next`; its end, or null when there is none yet. */
  async copyNext(next: number): Promise<number | null> {
    const folder = logFolder(this.#dataDir);
    const bases = await listSegments(realFs, folder);
    const index = bases.findIndex((_, at) => at + 1 < bases.length && bases[at + 1]! > next);
    const base = bases[index];
    if (base === undefined) return null;
    const end = bases[index + 1]!;
    if ((await this.#catalog.load()).has(base)) return end;
    const { position, sizeBytes } = await inspectSegment(realFs, folder, base, SCAN_INTERVAL_BYTES);
    // Zeros written ahead are still being cut off.
    if (position !== sizeBytes) return null;
    const files: ColdFile[] = [];
    for (const kind of KINDS) {
      const path = join(folder, segmentFile(base, 'log').replace(/log$/, kind));
      const file = await stat(path).catch(() => null);
      if (!file) continue;
      const sha256 = await sha256OfFile(path);
      await this.#verified(`${stemOf(base)}.${kind}`, path, sha256);
      files.push({ kind, sizeBytes: file.size, sha256 });
    }
    const manifest = { version: 1, segment: base, end, files } as const;
    const draft = join(this.#dataDir, `cold-${stemOf(base)}.tmp`);
    try {
      await writeFile(draft, formatColdManifest(manifest));
      await this.#verified(`${stemOf(base)}.json`, draft, await sha256OfFile(draft));
    } finally {
      await removeFile(draft);
    }
    await this.#catalog.add(manifest);
    return end;
  }

  /** Puts a file unless it is there already, and reads it back. */
  async #verified(name: string, path: string, sha256: string): Promise<void> {
    if ((await this.#store.hashOf(name)) === sha256) return;
    await this.#store.put(name, path, sha256);
    const stored = await this.#store.hashOf(name);
    if (stored !== sha256) throw new Error(`${name} came back changed: SHA-256 ${stored}, not ${sha256}`);
  }
}
