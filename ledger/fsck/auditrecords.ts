// The pass of an audit over records: all blocks or a sample of them re-hashed, and one device followed through all of them.
import type { Block } from '../format/block.ts';
import { checkDevice, devicesOf } from '../format/devices.ts';
import { FormatError } from '../format/errors.ts';
import type { AuditOptions, AuditReport } from './audit.ts';
import type { AuditSource } from './auditsource.ts';
import { parsedBlocks } from './chainwalk.ts';
import type { DeviceHistory, DeviceReport } from './devicehistory.ts';
import type { Findings } from './findings.ts';
import type { RecordCheck } from './recordcheck.ts';

const DEFAULT_SAMPLE_BLOCKS = 100;

export interface RecordPass {
  readonly opened: AuditSource;
  readonly since: number;
  readonly blocks: number;
  readonly dataBlocks: number;
  readonly sealedEnd: number;
  readonly check: RecordCheck;
  readonly history: DeviceHistory | null;
  readonly findings: Findings;
  readonly options: AuditOptions;
}

export async function checkRecords(pass: RecordPass): Promise<AuditReport['records']> {
  const { opened, since, blocks, dataBlocks, sealedEnd, check, options } = pass;
  const mode = options.records ?? 'full';
  const random = options.random ?? Math.random;
  let stillWanted =
    mode === 'full' ? dataBlocks : Math.min(dataBlocks, options.sampleBlocks ?? DEFAULT_SAMPLE_BLOCKS);
  let stillThere = dataBlocks;
  let blocksChecked = 0;
  for await (const block of parsedBlocks(opened.read, blocks, since)) {
    if (block.kind === 'data') {
      // Selection sampling: every subset of the wanted size is equally likely, in one pass.
      const isChosen = random() * stillThere < stillWanted;
      stillThere -= 1;
      if (!isChosen) {
        if (pass.history) await byProof(block, pass.history, pass);
        continue;
      }
      stillWanted -= 1;
      blocksChecked += 1;
    }
    await check.block(block);
    options.onProgress?.({ phase: 'records', done: block.first + block.count, total: sealedEnd });
  }
  return { ...check.counts, mode, blocksChecked };
}

/** What a block proves of the device without its records. */
async function byProof(
  block: Block,
  history: DeviceHistory,
  { opened, findings }: RecordPass,
): Promise<void> {
  const commitment = commitmentOf(block);
  const proof = commitment && (await opened.deviceProof?.(block.height, history.device));
  if (!commitment || !proof) return history.unknown();
  const found = checkDevice(commitment, history.device, proof);
  if (found) return history.summary(found);
  history.unknown();
  findings.add(
    'error',
    'DEVICES_WRONG',
    { file: opened.recordsFile },
    `what is shown of ${history.device} does not lead to the summary that block ${block.height} commits to`,
    { height: block.height },
  );
}

function commitmentOf(block: Block) {
  try {
    return devicesOf(block);
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

export function sayMissing(device: DeviceReport | undefined, findings: Findings, file: string): void {
  if (!device || device.missingCount === 0) return;
  const [first] = device.missing;
  const where = first
    ? `, the first ${first.first}${first.last > first.first ? ` to ${first.last}` : ''}`
    : '';
  findings.add(
    'warning',
    'SEQUENCE_MISSING',
    { file },
    `${device.device}: ${device.missingCount} of the numbers from ${device.first} to ${device.last} are in no block${where}: the device did not send them, or they were withheld from the gateway's log`,
    { count: device.missingCount },
  );
}
