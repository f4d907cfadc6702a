// The chaos run: a fleet sends through proxies to the real gateway on a small disk, faults drawn from a seed strike, and at
// the end the fleet's own truth and the audit decide. Whatever fails is repeated by its seed; the folder is then kept.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { SinkCollector } from '../../firmware-sim/judge-sink.ts';
import { runScenario } from '../../firmware-sim/run.ts';
import { type JudgedRun, type Mark, reportHtml, verdictText } from '../../firmware-sim/run-report.ts';
import { Random } from '../fuzz/mutate.ts';
import { freePort, MOSQUITTO, startMosquitto } from '../support/processes.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { ChaosAuthorities } from './chaos-authorities.ts';
import { SmallDisk } from './chaos-disk.ts';
import { draw, FAULTS, type Stage } from './chaos-faults.ts';
import { chaosFleet } from './chaos-fleet.ts';
import { ChaosGateway } from './chaos-gateway.ts';
import { judgeChaos } from './chaos-judge.ts';

export interface ChaosOptions {
  readonly seed: number;
  readonly seconds: number;
  /** Where the report goes; the data directory too. */
  readonly folder?: string;
  /** Names of faults; all by default. */
  readonly only?: readonly string[];
}

/** 30 minutes of this fleet are some 40 MB of log; full disks need no larger one. */
const DISK_BYTES = 512 * 1024 * 1024;
/** As startGateway names it. */
const ORIGIN = 'test.example.com/gateway';
const SINK_PREFIX = 'chaos/';
/** From the beginning of one fault to that of the next. */
const GAP_SECONDS: readonly [number, number] = [1, 7];
/** No fault begins in the first and last seconds: the run is to begin and end in order. */
const QUIET_SECONDS = 3;

/** False when a promise was broken; says which, and how to repeat it. */
export async function soakChaos({ seed, seconds, only, ...options }: ChaosOptions): Promise<boolean> {
  if (MOSQUITTO === null) throw new Error('mosquitto is not installed: apt-get install mosquitto');
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'tidemark-chaos-'));
  mkdirSync(folder, { recursive: true });
  console.log(`soak: ${seconds} s of chaos, seed ${seed}`);
  const disk = SmallDisk.make(folder, DISK_BYTES);
  const dataDir = join(folder, 'data');
  mkdirSync(join(disk?.path ?? folder, 'tidemark'));
  symlinkSync(join(disk?.path ?? folder, 'tidemark'), dataDir);
  const authorities = await ChaosAuthorities.start(folder, ORIGIN, dataDir);
  const broker = await startMosquitto();
  const [mqttPort, httpPort] = [await freePort(), await freePort()];
  const mqtt = await TcpProxy.open(() => mqttPort);
  const http = await TcpProxy.open(() => httpPort);
  const upstream = await TcpProxy.open(() => broker.port);
  const yaml = [
    'windows: [{ name: five, sizeMs: 5000, allowedLatenessMs: 2000, idleMs: 1000 }]',
    `ledger: { policy: "${authorities.policyFile}", cosign: { timeoutMs: 2000, retryFirstMs: 100, retryMaxMs: 1000 } }`,
    `forwarders: [{ name: central, type: mqtt, url: "mqtt://127.0.0.1:${upstream.port}", topicPrefix: "${SINK_PREFIX}" }]`,
  ].join('\n');
  const busy = new Set<string>();
  // A full disk may keep a gateway from starting; the next try comes when there is room.
  const mayFail = () => busy.has('disk');
  const gateway = new ChaosGateway({ folder, dataDir, mqttPort, httpPort, yaml, mayFail });
  const stage: Stage = { gateway, disk, devices: [mqtt, http], upstream, broker, authorities, yaml };
  for (const fault of FAULTS) {
    const missing = fault.missing(stage);
    if (missing !== null) console.log(`soak: without the fault ${fault.name}: ${missing}`);
  }
  const sink = await SinkCollector.open(`mqtt://127.0.0.1:${broker.port}`, SINK_PREFIX);
  const stop = new AbortController();
  const marks: Mark[] = [];
  try {
    await gateway.run();
    const file = chaosFleet(seed, seconds);
    const endpoints = {
      mqttUrl: `mqtt://127.0.0.1:${mqtt.port}`,
      httpUrl: `http://127.0.0.1:${http.port}`,
      wsUrl: `ws://127.0.0.1:${http.port}/ws`,
    };
    const truthPath = join(folder, 'truth');
    const running = runScenario({
      file,
      startMs: Date.now(),
      endpoints,
      figuresUrl: gateway.url,
      truthPath,
      fromOffset: 0,
      signal: stop.signal,
    });
    await strike(stage, busy, new Random(seed), seconds, marks, only);
    const report = await running;
    const judged = await judgeChaos({
      gateway,
      dataDir,
      truthPath,
      configPath: `${dataDir}.yaml`,
      sink,
      policyFile: authorities.policyFile,
    });
    const failures = [
      ...judged.failures,
      ...gateway.unexpected,
      ...(report.pending > 0 ? [`${report.pending} records were still unanswered at the end`] : []),
      ...(report.acked === 0 ? ['nothing was acknowledged'] : []),
    ];
    const result = { report, ...judged.run, expectations: [], ok: failures.length === 0 };
    writeFileSync(
      join(folder, 'report.json'),
      `${JSON.stringify({ ...result, marks, failures }, null, 1)}\n`,
    );
    writeFileSync(join(folder, 'report.html'), reportHtml(result, marks, failures));
    return tell({
      seed,
      seconds,
      folder,
      failures,
      run: judged.run,
      starts: gateway.starts,
      faults: marks.length,
      acked: report.acked,
      disk,
    });
  } finally {
    stop.abort();
    await gateway.stop().catch(() => undefined);
    await sink.close().catch(() => undefined);
    broker.child.kill('SIGCONT');
    await broker.stop();
    await authorities.stop();
    await Promise.all([mqtt.close(), http.close(), upstream.close()]);
  }
}

/** Lets faults begin and end until the time is up; all have ended when it resolves. */
async function strike(
  stage: Stage,
  busy: Set<string>,
  random: Random,
  seconds: number,
  marks: Mark[],
  only: readonly string[] | undefined,
): Promise<void> {
  const began = performance.now();
  const now = () => (performance.now() - began) / 1000;
  const ends: Promise<void>[] = [];
  await pause(QUIET_SECONDS * 1000);
  while (now() < seconds - QUIET_SECONDS) {
    const fault = draw(random, stage, busy, only);
    if (fault) {
      const [least, most] = fault.seconds;
      const lasts = Math.min(least + random.next() * (most - least), Math.max(0, seconds - now()));
      busy.add(fault.touches);
      const { did, end } = fault.begin(stage, random);
      marks.push({ x: now(), label: `${did}${lasts > 0 ? ` for ${lasts.toFixed(1)} s` : ''}` });
      ends.push(
        pause(lasts * 1000).then(async () => {
          await end();
          busy.delete(fault.touches);
        }),
      );
    }
    const [least, most] = GAP_SECONDS;
    await pause((least + random.next() * (most - least)) * 1000);
  }
  await Promise.all(ends);
}

interface Told {
  readonly seed: number;
  readonly seconds: number;
  readonly folder: string;
  readonly failures: readonly string[];
  readonly run: JudgedRun;
  readonly starts: number;
  readonly faults: number;
  readonly acked: number;
  readonly disk: SmallDisk | null;
}

function tell({ seed, seconds, folder, failures, run, starts, faults, acked, disk }: Told): boolean {
  console.log(`soak: ${faults} faults, ${starts} starts of the gateway, ${acked} records acknowledged`);
  console.log(verdictText(run).replace(/^/gm, '  ').trimEnd());
  if (failures.length === 0) {
    disk?.unmount();
    rmSync(folder, { recursive: true, force: true });
    return true;
  }
  for (const failure of failures) console.error(`soak: ${failure}`);
  if (disk)
    console.error(
      `soak: the data directory is a file system of its own: \`umount ${disk.path}\` before you remove it`,
    );
  console.error(
    `soak: repeat with \`npm run soak -- chaos --seed ${seed} --minutes ${seconds / 60}\`; report and data directory are kept in ${folder}`,
  );
  return false;
}
