// The kill loop of the soak: kill −9 of the gateway under load at moments drawn from a seed; then acked = present = proven.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '../fuzz/mutate.ts';
import { killLoop } from '../support/kill-loop.ts';

/** False when a promise was broken; says which, and how to repeat it. */
export async function soakKills(rounds: number, seed: number): Promise<boolean> {
  const random = new Random(seed);
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-soak-'));
  console.log(`soak: ${rounds} rounds of kill -9 under load, seed ${seed}`);
  const report = await killLoop({
    folder,
    rounds,
    devices: 20,
    ackedPerRound: () => random.below(4_000),
    onRound: (round, acked) => {
      if (round % 10 === 0 || round === rounds)
        console.log(`soak: round ${round}, ${acked} records acknowledged`);
    },
  });
  const failures = [
    report.missing.length > 0 &&
      `${report.missing.length} acknowledged records are missing: ${report.missing.slice(0, 5).join(', ')} …`,
    report.doubled.length > 0 &&
      `${report.doubled.length} records are there more than once: ${report.doubled.slice(0, 5).join(', ')} …`,
    report.audit.code !== 0 && `the audit is not clean: ${report.audit.text}`,
    report.fsck.code !== 0 && `fsck found damage: ${report.fsck.text}`,
    report.cleanStop.code !== 0 &&
      `the clean stop ended with ${report.cleanStop.code ?? report.cleanStop.signal}`,
  ].filter((failure) => failure !== false);
  if (failures.length === 0) {
    rmSync(folder, { recursive: true, force: true });
    console.log(`soak: ${report.acked} acknowledged records, all present once and proven`);
    return true;
  }
  for (const failure of failures) console.error(`soak: ${failure}`);
  console.error(
    `soak: repeat with \`npm run soak -- --kills --seed ${seed} --rounds ${rounds}\`; the data directory is kept in ${folder}`,
  );
  return false;
}
