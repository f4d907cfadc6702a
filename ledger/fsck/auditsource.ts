// What an audit reads from, behind one interface: a data directory, a running gateway, or a block log alone (a mirror, a copy
// on a web server). Judges nothing.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceProof } from '../format/devices.ts';
import { CHECKPOINT_PATH, type TileReader } from '../format/tile.ts';
import { type ColdAccess, ColdCopies } from './coldcopies.ts';
import { directoryReader, ledgerFolder } from './directory.ts';
import type { Findings } from './findings.ts';
import {
  baseUrl,
  HttpRecords,
  httpDeviceProofs,
  httpTiles,
  isHttpLedger,
  SourceError,
} from './httpsource.ts';
import { type RecordSource, SegmentRecords } from './recordsource.ts';

/** What a block proves of a device; null where the source cannot say. Nothing in it is to be believed unchecked. */
export type ReadDeviceProof = (height: number, device: string) => Promise<DeviceProof | null>;

export interface AuditSource {
  readonly read: TileReader;
  /** Null where there is a block log, and no records. */
  readonly records: RecordSource | null;
  /** Null where records are at hand anyway. */
  readonly deviceProof: ReadDeviceProof | null;
  /** Put before ledger paths in findings, and named as the place of records. */
  readonly prefix: string;
  readonly recordsFile: string;
  /** Removes what was fetched for reading. */
  close(): void;
}

/**
 * @param cold how the cold tier of a data directory is reached, where that is known
 * @throws SourceError when there is nothing at the path
 */
export async function openSource(
  source: string,
  findings: Findings,
  cold: ColdAccess | null,
): Promise<AuditSource> {
  if (/^https?:\/\//.test(source)) {
    const base = baseUrl(source);
    if (await isHttpLedger(base)) return ledgerAlone(httpTiles(base, ''));
    return {
      read: httpTiles(base),
      records: new HttpRecords(base),
      deviceProof: httpDeviceProofs(base),
      prefix: 'ledger/',
      recordsFile: 'api/v1/records',
      close: () => {},
    };
  }
  if (!existsSync(source)) {
    throw new SourceError('SOURCE_UNREACHABLE', `${source} does not exist`, {
      facts: { source },
      hint: 'give a data directory or the base address of a gateway',
    });
  }
  if (existsSync(join(source, CHECKPOINT_PATH)) && !existsSync(ledgerFolder(source)))
    return ledgerAlone(directoryReader(source));
  const copies = new ColdCopies(source, cold, findings);
  return {
    read: directoryReader(ledgerFolder(source)),
    records: new SegmentRecords(source, copies),
    deviceProof: null,
    prefix: 'ledger/',
    recordsFile: 'log',
    close: () => copies.close(),
  };
}

const ledgerAlone = (read: TileReader): AuditSource => ({
  read,
  records: null,
  deviceProof: null,
  prefix: '',
  recordsFile: '',
  close: () => {},
});
