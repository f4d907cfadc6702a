// A copy of one gateway's block log, fetched after each cosignature and checked against what was cosigned before it is
// served. Refuses to hold a block the cosigned tree does not have. Never in the way of cosigning.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseCheckpoint } from '../format/checkpoint.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes } from '../format/hash.ts';
import { parseNote } from '../format/note.ts';
import { CHECKPOINT_PATH, parseTilePath } from '../format/tile.ts';
import { fileDisk } from '../seal/disk.ts';
import { TreeEdge } from '../seal/edge.ts';
import { loadStoredTree } from '../seal/stored.ts';
import { TileFiles } from '../seal/tilefiles.ts';
import { readBlocks } from '../verify/chain.ts';
import { originHash } from './evidence-files.ts';
import type { AuthorityLogger } from './server.ts';
import type { StoredHead } from './store.ts';

export interface MirrorOptions {
  readonly origin: string;
  /** Of the gateway's block log, e.g. https://gw-3.example.com/ledger */
  readonly url: string;
  readonly dataDir: string;
  readonly maxBlocks: number;
  readonly logger: AuthorityLogger;
}

const FETCH_TIMEOUT_MS = 30_000;
const FILE_MAX_BYTES = 256 * (65_535 + 2);
const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 60_000;
/** Blocks written and synced together. */
const ROUND_BLOCKS = 256;

export class Mirror {
  readonly #options: MirrorOptions;
  readonly #folder: string;
  #files: TileFiles;
  readonly #stop = new AbortController();
  #edge: TreeEdge | null = null;
  #wanted: StoredHead | null = null;
  #working: Promise<void> | null = null;
  #size = 0;

  constructor(options: MirrorOptions) {
    this.#options = options;
    this.#folder = join(options.dataDir, 'mirror', originHash(options.origin));
    mkdirSync(this.#folder, { recursive: true });
    this.#files = new TileFiles(fileDisk, this.#folder);
    this.#size = this.#storedHead()?.size ?? 0;
  }

  /** Blocks held and checked. */
  get size(): number {
    return this.#size;
  }

  /** A file of the mirrored log by its tlog-tiles path, or null. */
  read(path: string): Uint8Array | null {
    if (path !== CHECKPOINT_PATH) {
      try {
        parseTilePath(path);
      } catch (error) {
        if (error instanceof FormatError) return null;
        throw error;
      }
    }
    return this.#files.read(path);
  }

  /** Copies what is missing up to this cosigned head, in the background; a newer head takes the place of a waiting one. */
  follow(head: StoredHead): void {
    this.#wanted = head;
    this.#working ??= this.#work().finally(() => {
      this.#working = null;
    });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#working;
  }

  async #work(): Promise<void> {
    let retryMs = RETRY_FIRST_MS;
    while (this.#wanted && !this.#stop.signal.aborted) {
      const head = this.#wanted;
      try {
        await this.#copy(head);
        retryMs = RETRY_FIRST_MS;
        if (this.#wanted === head) this.#wanted = null;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        // What was read may not fit what was cosigned: begin again from what is stored.
        this.#edge = null;
        const { origin, logger } = this.#options;
        logger.warn({ origin, retryInMs: retryMs, reason: String(error) }, 'mirroring goes on later');
        await sleep(retryMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      }
    }
  }

  async #copy(head: StoredHead): Promise<void> {
    if (head.size > this.#options.maxBlocks)
      throw new Error(`the log has ${head.size} blocks, mirrorMaxBlocks is ${this.#options.maxBlocks}`);
    const edge = this.#edge ?? (await this.#open());
    this.#edge = edge;
    const from = edge.size;
    const rounds = [];
    // Everything is fetched and checked against the cosigned root first: an unsound block is never stored.
    for await (const { bytes } of readBlocks((path) => this.#fetch(path), { from, size: head.size })) {
      edge.append(bytes);
      if ((edge.size - from) % ROUND_BLOCKS === 0) {
        rounds.push(edge.unsaved());
        edge.saved();
      }
    }
    if (!equalBytes(edge.root(), head.root))
      throw new Error(`the ${head.size} blocks served do not have the cosigned root`);
    rounds.push(edge.unsaved());
    edge.saved();
    for (const files of rounds) this.#files.write(files);
    for (const { tile } of rounds.flat()) if (tile.width === 256) this.#files.removePartials(tile);
    this.#files.replace(CHECKPOINT_PATH, Buffer.from(head.note));
    this.#size = head.size;
  }

  /** The tree of what is stored and led to a cosigned root; blocks beyond it are dropped. */
  async #open(): Promise<TreeEdge> {
    const stored = this.#storedHead();
    this.#files.clearStrays(stored?.size ?? 0);
    const tree = await loadStoredTree(this.#files, stored, async () => []);
    if (tree.kind === 'sound') return tree.edge;
    // It is a copy, and what it is of can be had again. A crash in the middle of a long copy ends here too.
    const { origin, logger } = this.#options;
    logger.warn({ origin, found: tree.kind }, 'the mirror is not whole and is made again');
    fileDisk.removeFolder(this.#folder);
    mkdirSync(this.#folder, { recursive: true });
    this.#files = new TileFiles(fileDisk, this.#folder);
    this.#size = 0;
    return new TreeEdge();
  }

  #storedHead() {
    const bytes = this.#files.read(CHECKPOINT_PATH);
    return bytes && parseCheckpoint(parseNote(bytes).text);
  }

  async #fetch(path: string): Promise<Uint8Array | null> {
    const response = await fetch(`${this.#options.url.replace(/\/$/, '')}/${path}`, {
      signal: AbortSignal.any([this.#stop.signal, AbortSignal.timeout(FETCH_TIMEOUT_MS)]),
    });
    if (response.status === 404) return null;
    if (!response.ok || !response.body) throw new Error(`${path}: HTTP ${response.status}`);
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of response.body) {
      bytes += part.length;
      if (bytes > FILE_MAX_BYTES) throw new Error(`${path}: longer than any bundle`);
      parts.push(part);
    }
    return Buffer.concat(parts);
  }
}
