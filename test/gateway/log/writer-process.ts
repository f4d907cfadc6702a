// Owns the process that the kill tests kill: appends as fast as it can and prints each batch's last acked offset.
import { writeSync } from 'node:fs';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';

const config = logConfigSchema.parse({ segmentBytes: 1024 * 1024, preallocateBytes: 512 * 1024 });
const log = await openLog({ dataDir: process.argv[2]!, config });
let next: number = log.recovery.at;
let waiting = 0;
let last = -1;

function feed(): void {
  for (; waiting < 2000; waiting++) {
    const sequence = next++;
    const input = {
      eventMs: 1_763_600_000_000 + sequence,
      receivedMs: 1_763_600_000_000,
      topic: 'plant/pump-1/vibration',
      device: 'pump-1',
      sequence,
      source: 1 as const,
      contentType: 'application/json',
      headers: [],
      payload: Buffer.alloc(50 + (sequence % 100), 'p'),
      salt: new Uint8Array(0),
    };
    log.append(input, (error, offset) => {
      if (error) throw error;
      waiting -= 1;
      last = offset;
    });
  }
  log.whenDurable((next - 1) as never, () => {
    writeSync(1, `acked ${last}\n`);
    setImmediate(feed);
  });
}
feed();
