// Has the newest checkpoint stamped by an external authority, now and then. Stores only what it has verified; a failing
// authority shows in the figures and stops nothing.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StageContext } from '../../gateway/stage/types.ts';
import { parseNote } from '../format/note.ts';
import { readHead } from '../tiles/blocks.ts';
import { directoryTiles } from '../tiles/source.ts';
import type { TimestampConfig } from './config.ts';
import { storeTimestamp, timestampSizes } from './store.ts';
import { imprintOf, MAX_TOKEN_BYTES, TimestampError, timestampRequest, verifyTimestamp } from './token.ts';

const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 600_000;
/** While nothing is sealed yet it is looked again after this. */
const LOOK_MS = 1_000;
const NONCE_BYTES = 8;

export async function timestampStage(context: StageContext<TimestampConfig>): Promise<void> {
  const { config, dataDir, signal } = context;
  const tiles = directoryTiles(join(dataDir, 'ledger'));
  const trusted = config.caFile === undefined ? undefined : readFileSync(config.caFile, 'utf8');
  let stamped = timestampSizes(dataDir).at(-1) ?? 0;
  let failures = 0;
  context.report({ stamped, stampFailures: 0 });
  while (!signal.aborted) {
    const head = await readHead(tiles);
    if (!head || head.checkpoint.size <= stamped) {
      await pause(head ? Math.min(config.everyMs, LOOK_MS * 60) : LOOK_MS, signal);
      continue;
    }
    try {
      const { size } = head.checkpoint;
      const { token, timeMs } = await stamp(parseNote(head.note).text, config, trusted, signal);
      storeTimestamp(dataDir, { size, note: head.note, token });
      stamped = size;
      failures = 0;
      context.report({ stamped, stampedMs: timeMs, lastError: null });
      await pause(config.everyMs, signal);
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      const { message } = error as Error;
      context.log('warn', `no timestamp: ${message}`, { url: config.url, failures });
      context.report({ stampFailures: failures, lastError: message });
      await pause(Math.min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_MAX_MS), signal);
    }
  }
}

async function stamp(
  checkpointText: string,
  { url, timeoutMs }: TimestampConfig,
  trusted: string | undefined,
  signal: AbortSignal,
): Promise<{ token: Buffer; timeMs: number }> {
  const imprint = imprintOf(checkpointText);
  const nonce = randomBytes(NONCE_BYTES);
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/timestamp-query', accept: 'application/timestamp-reply' },
    body: new Uint8Array(timestampRequest(imprint, nonce)),
    redirect: 'error',
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
  });
  if (!response.ok) {
    await response.body?.cancel();
    throw new TimestampError(`the authority answers ${response.status}`);
  }
  const token = await bounded(response);
  const { timeMs } = verifyTimestamp(token, { imprint, nonce, trusted });
  return { token, timeMs };
}

async function bounded(response: Response): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > MAX_TOKEN_BYTES) throw new TimestampError('the answer is too long for a timestamp');
    parts.push(part);
  }
  return Buffer.concat(parts);
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);
