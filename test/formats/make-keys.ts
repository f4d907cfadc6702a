// `node test/formats/make-keys.ts FOLDER`: writes FOLDER/v1-keys, the key indexes (version 1) of the segments in FOLDER/v1, by
// the gateway's own indexing. Refuses to write over what is there.
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { realFs } from '../../gateway/log/fs.ts';
import { SegmentIndexing } from '../../gateway/log/key-index-build.ts';
import { listSegments, logFolder, segmentFile } from '../../gateway/log/layout.ts';

async function make(folder: string): Promise<void> {
  const target = join(folder, 'v1-keys');
  if (existsSync(target)) throw new Error(`${target} is there: frozen indexes are never made again in place`);
  const dataDir = mkdtempSync(join(tmpdir(), 'tidemark-v1-keys-'));
  try {
    cpSync(join(folder, 'v1'), dataDir, { recursive: true });
    const log = logFolder(dataDir);
    const bases = await listSegments(realFs, log);
    mkdirSync(target);
    // Of the last one nobody can say from its name where it ends: it stays without, as in a gateway that just began it.
    for (const [index, base] of bases.slice(0, -1).entries()) {
      const why = await new SegmentIndexing(realFs, log, base).advance(bases[index + 1]!, true);
      if (why !== null) throw new Error(`${base}: ${why}`);
      const name = segmentFile(base, 'keys');
      cpSync(join(log, name), join(target, name));
    }
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

const folder = process.argv[2];
if (!folder) throw new Error('usage: node test/formats/make-keys.ts FOLDER');
await make(folder);
