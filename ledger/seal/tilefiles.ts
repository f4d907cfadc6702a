// Puts tiles on disk so that each file appears whole or not at all, and clears away what a crash left behind.
// Decides nothing about the tree.
import { dirname, join } from 'node:path';
import { levelLength, TILE_WIDTH, type TileId, tilePath, tileWidth } from '../format/tile.ts';
import type { LedgerDisk } from './disk.ts';
import type { TileFile } from './edge.ts';

/** Unfinished files live here until they are renamed to their place; whatever a start finds in it is removed. */
const INCOMING = '.incoming';

export class TileFiles {
  readonly #disk: LedgerDisk;
  readonly #folder: string;
  /** Folders whose own names are known to be durable. */
  readonly #durableFolders = new Set<string>();

  /** @param folder `<dataDir>/ledger`; its parent must exist. */
  constructor(disk: LedgerDisk, folder: string) {
    this.#disk = disk;
    this.#folder = folder;
  }

  read(path: string): Uint8Array | null {
    return this.#disk.read(join(this.#folder, path));
  }

  /** Widths of the partial bundles or tiles there are at this index, ascending. */
  partialWidths(level: TileId['level'], index: number): number[] {
    return this.#disk
      .list(this.#partialsFolder(level, index))
      .map(Number)
      .filter((width) => Number.isInteger(width) && width >= 1 && width < TILE_WIDTH)
      .sort((a, b) => a - b);
  }

  /** All files durable under their names when it returns. */
  write(files: readonly TileFile[]): void {
    this.#ensureFolder(join(this.#folder, INCOMING));
    const moves = files.map(({ path, bytes }) => {
      const temporary = join(this.#folder, INCOMING, path.replaceAll('/', '_'));
      const target = join(this.#folder, path);
      this.#ensureFolder(dirname(target));
      this.#disk.writeSynced(temporary, bytes);
      // A crash here leaves a file nobody looks at: the next start removes it.
      return { temporary, target };
    });
    for (const { temporary, target } of moves) {
      this.#disk.rename(temporary, target);
      // A crash here leaves some tiles of an unsigned tree. The next start takes the blocks it finds in an
      // unbroken row, checks them against the log, completes their tiles and signs them.
    }
    for (const folder of new Set(moves.map(({ target }) => dirname(target)))) this.#disk.syncFolder(folder);
  }

  /** Replaces a small file; whole after a crash of the process, the old or the new one after a power cut. */
  replace(path: string, bytes: Uint8Array): void {
    this.#ensureFolder(join(this.#folder, INCOMING));
    const temporary = join(this.#folder, INCOMING, path.replaceAll('/', '_'));
    this.#disk.writeSynced(temporary, bytes);
    this.#disk.rename(temporary, join(this.#folder, path));
  }

  /**
   * Removes the narrower partials at this index but the `keep` widest. Each bundle repeats the blocks of those before it:
   * all of them together would come to a hundred times the full one.
   */
  thinPartials(tile: TileId, keep: number): void {
    const narrower = this.partialWidths(tile.level, tile.index).filter((width) => width < tile.width);
    for (const width of narrower.slice(0, Math.max(0, narrower.length - keep)))
      this.#disk.remove(join(this.#folder, tilePath({ ...tile, width })));
  }

  /** C2SP tlog-tiles allows partial tiles to go once the full one stands. */
  removePartials(tile: TileId): void {
    const folder = this.#partialsFolder(tile.level, tile.index);
    if (this.#disk.list(folder).length === 0) return;
    this.#disk.removeFolder(folder);
    this.#durableFolders.delete(folder);
  }

  /**
   * Removes what does not belong to a tree of `size`: unfinished files, tiles of blocks that were written but
   * never signed, partials whose full tile stands. One round spans fewer blocks than a tile has, so only the
   * tiles next to the edge can be concerned.
   */
  clearStrays(size: number): void {
    const incoming = join(this.#folder, INCOMING);
    for (const name of this.#disk.list(incoming)) this.#disk.remove(join(incoming, name));
    let top = 0;
    while (levelLength(top, size) > 0) top += 1;
    const levels: TileId['level'][] = ['entries', ...Array.from({ length: top + 1 }, (_, level) => level)];
    for (const level of levels) {
      const edge = Math.floor(levelLength(level === 'entries' ? 0 : level, size) / TILE_WIDTH);
      if (edge > 0) this.removePartials({ level, index: edge - 1, width: TILE_WIDTH });
      for (const index of [edge, edge + 1]) this.#clearTile(level, index, tileWidth(level, index, size));
    }
  }

  #clearTile(level: TileId['level'], index: number, width: number): void {
    const full = join(this.#folder, tilePath({ level, index, width: TILE_WIDTH }));
    if (this.#disk.read(full) !== null) this.#disk.remove(full);
    for (const stray of this.partialWidths(level, index)) {
      if (stray > width) this.#disk.remove(join(this.#folder, tilePath({ level, index, width: stray })));
    }
  }

  #partialsFolder(level: TileId['level'], index: number): string {
    return dirname(join(this.#folder, tilePath({ level, index, width: 1 })));
  }

  #ensureFolder(folder: string): void {
    if (this.#durableFolders.has(folder)) return;
    this.#disk.makeFolder(folder);
    // The new folder's name lies in its parent, and so on up to the data directory.
    for (let inner = folder; inner !== dirname(this.#folder); inner = dirname(inner)) {
      if (this.#durableFolders.has(inner)) break;
      this.#disk.syncFolder(dirname(inner));
      this.#durableFolders.add(inner);
    }
  }
}
