// Owns the enumeration: every call of a run, in every way it can go wrong, and a power cut before every call with every
// outcome. Judges each distinct disk once: equal disks with equal books have equal verdicts.
import { hash } from 'node:crypto';
import type { LogConfig } from '../../gateway/log/config.ts';
import { type Call, type Fault, FaultFs, faultsOf, nameOf } from './fault-fs.ts';
import { judge } from './judge.ts';
import type { MemoryDisk } from './memory-disk.ts';
import { afterPowerCut, type Books, config, copyOf, type Scenario } from './scenario.ts';

export interface SweepResult {
  readonly calls: number;
  readonly cases: number;
  /** Different disks (with what was promised of them) among the cases. */
  readonly disks: number;
  /** The first few broken promises, each with the case that shows it. */
  readonly failures: readonly string[];
}

const SHOWN = 5;

/** Buffers of the disk never change once made. */
const digests = new WeakMap<Uint8Array, string>();

function digestOf(bytes: Uint8Array): string {
  const known = digests.get(bytes);
  if (known !== undefined) return known;
  const made = hash('sha1', bytes, 'base64');
  digests.set(bytes, made);
  return made;
}

function keyOf(disk: MemoryDisk, books: Books): string {
  const listed = (files: ReadonlyMap<string, Uint8Array>) =>
    [...files].map(([name, bytes]) => `${name} ${digestOf(bytes)}`);
  const parts = [
    ...listed(disk.files()),
    'durable',
    ...listed(disk.durableFiles()),
    ...disk.unsynced,
    `${books.asked.length} ${[...books.acked].join()} ${[...books.refused].join()}`,
    `${books.removing.join(' ')} ${[...books.removed].join()}`,
  ];
  return hash('sha1', parts.join('\n'), 'base64');
}

export class Sweep {
  readonly #scenario: Scenario;
  readonly #folder: string;
  readonly #seen = new Set<string>();
  readonly #failures: string[] = [];
  #cases = 0;

  /** @param folder a real, empty folder for the writer's lock and for fsck */
  constructor(scenario: Scenario, folder: string) {
    this.#scenario = scenario;
    this.#folder = folder;
  }

  get #config(): LogConfig {
    return this.#scenario.config ?? config;
  }

  result(calls: number): SweepResult {
    return { calls, cases: this.#cases, disks: this.#seen.size, failures: this.#failures };
  }

  async check(name: string, disk: MemoryDisk, books: Books, mayHaveHoles = false): Promise<void> {
    this.#cases += 1;
    const key = `${mayHaveHoles} ${keyOf(disk, books)}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    const wrong = await judge(disk, books, { folder: this.#folder, mayHaveHoles }).catch(
      (error: unknown) => `the next start fails: ${error instanceof Error ? error.stack : error}`,
    );
    if (wrong !== null && this.#failures.length < SHOWN) this.#failures.push(`${name}: ${wrong}`);
  }

  async checkCuts(name: string, disk: MemoryDisk, books: Books): Promise<void> {
    const promised = afterPowerCut(books);
    for (const cut of disk.powerCuts()) {
      // With several batches unsynced a later one may be there without an earlier one: shown as damage, and kept.
      const mayHaveHoles = books.durable !== null && !/^(none|all \d|first)/.test(cut.name);
      await this.check(`${name}, power cut, ${cut.name}`, cut.disk, promised, mayHaveHoles);
    }
  }

  /** One run with one fault; returns the disk it leaves and what was promised of it. */
  async run(
    plan: { at: number; fault: Fault } | null,
  ): Promise<{ fs: FaultFs; disk: MemoryDisk; books: Books }> {
    const { disk, books } = await this.#scenario.begin();
    const fs = new FaultFs(disk, this.#folder, plan);
    const alive = () => fs.crashed === null;
    await this.#scenario.run({ dataDir: this.#folder, fs: fs.port, books, config: this.#config, alive });
    return { fs, disk: fs.crashed ?? disk, books };
  }

  /** As `run`; again where the log's one timer (a look at the free space each second) got in between on a busy machine. */
  async #runAt(calls: readonly Call[], at: number, fault: Fault, name: string): ReturnType<Sweep['run']> {
    for (let attempt = 0; attempt < 3; attempt++) {
      const ran = await this.run({ at, fault });
      if (ran.fs.calls[at]?.name === calls[at]!.name) return ran;
    }
    throw new Error(`${name}: the run does not make the same calls twice`);
  }

  /** The healthy run, with a power cut before each of its calls. */
  async powerCuts(): Promise<readonly Call[]> {
    const { disk, books } = await this.#scenario.begin();
    const moments: { disk: MemoryDisk; books: Books }[] = [];
    const fs = new FaultFs(disk, this.#folder, null, (now) =>
      moments.push({ disk: now.fork(), books: copyOf(books) }),
    );
    await this.#scenario.run({
      dataDir: this.#folder,
      fs: fs.port,
      books,
      config: this.#config,
      alive: () => true,
    });
    for (const [at, moment] of moments.entries())
      await this.checkCuts(`${this.#at(fs.calls, at)}`, moment.disk, moment.books);
    await this.check('the healthy run', disk.fork(), books);
    await this.checkCuts('the healthy run', disk, books);
    return fs.calls;
  }

  #at(calls: readonly Call[], at: number): string {
    return `${this.#scenario.name}: call ${at} (${calls[at]!.name})`;
  }

  /** Every fault of every call, or those chosen. */
  async faults(calls: readonly Call[], isChosen: (fault: Fault) => boolean = () => true): Promise<void> {
    for (const [at, call] of calls.entries()) {
      for (const fault of faultsOf(call).filter(isChosen)) {
        const name = `${this.#at(calls, at)} ${nameOf(fault)}`;
        const { disk, books } = await this.#runAt(calls, at, fault, name);
        await this.check(name, disk.fork(), books);
        await this.checkCuts(name, disk, books);
      }
    }
  }
}

export async function sweep(scenario: Scenario, folder: string): Promise<SweepResult> {
  const all = new Sweep(scenario, folder);
  const calls = await all.powerCuts();
  await all.faults(calls);
  return all.result(calls.length);
}
