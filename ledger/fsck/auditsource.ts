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
  isHttpUrl,
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
 * @param options.cold how the cold tier of a data directory is reached, where that is known
 * @param options.blocksOnly no records are looked for. Whoever audits says so: a gateway must not choose what of it is checked.
 * @throws SourceError when there is nothing at the path, or a block log without records and nobody said so
 */
export async function openSource(
  source: string,
  findings: Findings,
  { cold, blocksOnly = false }: { readonly cold?: ColdAccess | undefined; readonly blocksOnly?: boolean },
): Promise<AuditSource> {
  if (isHttpUrl(source)) {
    const base = baseUrl(source);
    const isAlone = await isHttpLedger(base);
    if (blocksOnly) return ledgerAlone(httpTiles(base, isAlone ? '' : 'ledger/'));
    if (isAlone) throw noRecords(source);
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
  const isAlone = existsSync(join(source, CHECKPOINT_PATH)) && !existsSync(ledgerFolder(source));
  if (blocksOnly) return ledgerAlone(directoryReader(isAlone ? source : ledgerFolder(source)));
  if (isAlone) throw noRecords(source);
  const copies = new ColdCopies(source, cold ?? null, findings);
  return {
    read: directoryReader(ledgerFolder(source)),
    records: new SegmentRecords(source, copies),
    deviceProof: null,
    prefix: 'ledger/',
    recordsFile: 'log',
    close: () => copies.close(),
  };
}

const noRecords = (source: string) =>
  new SourceError('SOURCE_ANSWER', `${source} is a block log without records`, {
    facts: { source },
    hint: 'give the data directory or the address of the gateway; or audit blocks and signatures alone (--blocks-only)',
  });

const ledgerAlone = (read: TileReader): AuditSource => ({
  read,
  records: null,
  deviceProof: null,
  prefix: '',
  recordsFile: '',
  close: () => {},
});
