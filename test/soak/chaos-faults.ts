// The faults of the chaos run: each does something real to the gateway or what it lives on, for a while, and takes it back.
import type { Random } from '../fuzz/mutate.ts';
import type { Broker } from '../support/processes.ts';
import type { TcpProxy } from '../support/tcp-proxy.ts';
import type { ChaosAuthorities } from './chaos-authorities.ts';
import type { SmallDisk } from './chaos-disk.ts';
import type { ChaosGateway } from './chaos-gateway.ts';

export interface Stage {
  readonly gateway: ChaosGateway;
  readonly disk: SmallDisk | null;
  /** In front of MQTT, HTTP and WebSocket; and between the forwarder and the broker upstream. */
  readonly devices: readonly TcpProxy[];
  readonly upstream: TcpProxy;
  readonly broker: Broker;
  readonly authorities: ChaosAuthorities;
  readonly yaml: string;
}

export interface Fault {
  readonly name: string;
  /** Drawn so many times as often. */
  readonly weight: number;
  /** Two that share a word are not at work together. */
  readonly touches: string;
  /** Lasts between so many seconds. */
  readonly seconds: readonly [least: number, most: number];
  /** Why it cannot be had on this machine; null when it can. */
  readonly missing: (stage: Stage) => string | null;
  /** Begins; gives what it did in words, and how to take it back. */
  readonly begin: (
    stage: Stage,
    random: Random,
  ) => { readonly did: string; readonly end: () => void | Promise<void> };
}

const always = () => null;

function each(proxies: readonly TcpProxy[], work: (proxy: TcpProxy) => void): void {
  for (const proxy of proxies) work(proxy);
}

export const FAULTS: readonly Fault[] = [
  {
    name: 'kill',
    weight: 4,
    touches: 'process',
    seconds: [0, 0],
    missing: always,
    begin: ({ gateway }) => {
      gateway.signal('SIGKILL');
      return { did: 'kill -9', end: () => {} };
    },
  },
  {
    name: 'stop',
    weight: 2,
    touches: 'process',
    seconds: [1, 8],
    missing: always,
    begin: ({ gateway }) => {
      gateway.signal('SIGSTOP');
      return { did: 'SIGSTOP', end: () => gateway.signal('SIGCONT') };
    },
  },
  {
    name: 'disk-full',
    weight: 2,
    touches: 'disk',
    seconds: [2, 8],
    missing: ({ disk }) => (disk ? null : 'no small file system can be made here (root and loop devices)'),
    begin: ({ disk }) => {
      disk!.fill();
      return { did: `disk full (${disk!.freeBytes} bytes left)`, end: () => disk!.relieve() };
    },
  },
  {
    name: 'clock',
    weight: 2,
    touches: 'clock',
    seconds: [3, 10],
    missing: ({ gateway }) =>
      gateway.canStepClock ? null : 'libfaketime is not installed (apt-get install faketime)',
    begin: ({ gateway }, random) => {
      const seconds = random.pick([-86_400, -3_600, -30, 30, 3_600, 40 * 86_400]);
      gateway.stepClock(seconds);
      return { did: `clock stepped by ${seconds} s`, end: () => gateway.stepClock(0) };
    },
  },
  {
    name: 'cut',
    weight: 3,
    touches: 'network',
    seconds: [0.2, 5],
    missing: always,
    begin: ({ devices }) => {
      for (const proxy of devices) proxy.cut();
      return { did: 'network of the devices cut', end: () => each(devices, (proxy) => proxy.mend()) };
    },
  },
  {
    name: 'delay',
    weight: 2,
    touches: 'network',
    seconds: [3, 10],
    missing: always,
    begin: ({ devices }, random) => {
      const ms = 20 + random.below(400);
      for (const proxy of devices) proxy.delay(ms);
      return {
        did: `network of the devices ${ms} ms slower`,
        end: () => each(devices, (proxy) => proxy.delay(0)),
      };
    },
  },
  {
    name: 'sink-cut',
    weight: 2,
    touches: 'upstream',
    seconds: [2, 15],
    missing: always,
    begin: ({ upstream }) => {
      upstream.cut();
      return { did: 'upstream cut', end: () => upstream.mend() };
    },
  },
  {
    name: 'sink-stop',
    weight: 2,
    touches: 'upstream',
    seconds: [2, 15],
    missing: always,
    begin: ({ broker }) => {
      broker.child.kill('SIGSTOP');
      return { did: 'the broker upstream stands still', end: () => void broker.child.kill('SIGCONT') };
    },
  },
  {
    name: 'authority',
    weight: 2,
    touches: 'authorities',
    seconds: [2, 15],
    missing: always,
    begin: ({ authorities }, random) => {
      // One may be away, and the quorum stands; two, and checkpoints wait.
      const away = random.pick([[0], [1], [2], [0, 2], [1, 2]]);
      const signal = random.pick(['SIGKILL', 'SIGSTOP'] as const);
      for (const index of away) authorities.signal(index, signal);
      return {
        did: `${away.length} of ${authorities.count} authorities away (${signal})`,
        end: async () => {
          for (const index of away) {
            authorities.signal(index, 'SIGCONT');
            await authorities.revive(index);
          }
        },
      };
    },
  },
  {
    name: 'reload',
    weight: 2,
    touches: 'configuration',
    seconds: [1, 5],
    missing: always,
    begin: ({ gateway, yaml }, random) => {
      const level = random.pick(['debug', 'warn', 'error']);
      gateway.reload(`${yaml}\nlogLevel: ${level}`);
      return { did: `configuration reloaded (logLevel ${level})`, end: () => gateway.reload(yaml) };
    },
  },
];

/** One of those that can begin now, drawn by weight; null when none can. */
export function draw(
  random: Random,
  stage: Stage,
  busy: ReadonlySet<string>,
  only?: readonly string[],
): Fault | null {
  const able = FAULTS.filter(
    (fault) =>
      !busy.has(fault.touches) && fault.missing(stage) === null && (only?.includes(fault.name) ?? true),
  );
  let left = random.below(
    Math.max(
      1,
      able.reduce((sum, { weight }) => sum + weight, 0),
    ),
  );
  for (const fault of able) {
    left -= fault.weight;
    if (left < 0) return fault;
  }
  return null;
}
