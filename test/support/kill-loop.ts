// kill −9 of the real gateway under load from real MQTT devices, again and again; then the books are compared:
// what the devices saw acknowledged against what the log holds. Used by the e2e test and by the soak.
import { join } from 'node:path';
import mqtt from 'mqtt';
import { freePort, type Gateway, startGateway, tidemark } from './processes.ts';

const IN_FLIGHT = 20;

class Device {
  readonly name: string;
  readonly acked: number[] = [];
  readonly #client: mqtt.MqttClient;
  #sequence = 0;
  #stopped = false;
  #waiting = 0;
  #onIdle: (() => void) | null = null;

  constructor(name: string, port: number) {
    this.name = name;
    this.#client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {
      clientId: name,
      reconnectPeriod: 50,
      clean: true,
    });
    // Refused connections while the gateway is down are what this is about.
    this.#client.on('error', () => {});
    for (let i = 0; i < IN_FLIGHT; i++) this.#publish();
  }

  #publish(): void {
    if (this.#stopped) {
      if (this.#waiting === 0) this.#onIdle?.();
      return;
    }
    const sequence = this.#sequence++;
    this.#waiting++;
    const payload = JSON.stringify({ seq: sequence, ts: Date.now(), value: sequence % 97 });
    this.#client.publish(`plant/${this.name}/level`, payload, { qos: 1 }, (error) => {
      this.#waiting--;
      if (!error) this.acked.push(sequence);
      // After an error not in the same turn: mqtt.js empties its queue in a loop that would never end.
      if (error) setImmediate(() => this.#publish());
      else this.#publish();
    });
  }

  /** Stops sending and waits until all that is in flight is acknowledged. */
  async drain(): Promise<void> {
    this.#stopped = true;
    if (this.#waiting > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    await this.#client.endAsync(true);
  }
}

export interface KillLoopReport {
  readonly rounds: number;
  readonly acked: number;
  /** `device#sequence` of acknowledged records that the log lacks. */
  readonly missing: string[];
  /** `device#sequence` of records that the log holds more than once. */
  readonly doubled: string[];
  readonly audit: { code: number | null; text: string };
  readonly cleanStop: { code: number | null; signal: NodeJS.Signals | null };
  readonly fsck: { code: number | null; text: string };
}

export interface KillLoopOptions {
  readonly folder: string;
  readonly rounds: number;
  readonly devices: number;
  /** How many records must be acknowledged in a round before its kill. */
  readonly ackedPerRound: (round: number) => number;
  readonly onRound?: (round: number, acked: number) => void;
}

export async function killLoop(options: KillLoopOptions): Promise<KillLoopReport> {
  const ports = {
    dataDir: join(options.folder, 'data'),
    mqttPort: await freePort(),
    httpPort: await freePort(),
  };
  let gateway: Gateway = await startGateway(ports);
  const devices = Array.from(
    { length: options.devices },
    (_, index) => new Device(`dev-${index}`, ports.mqttPort),
  );
  const ackedTotal = () => devices.reduce((sum, device) => sum + device.acked.length, 0);
  try {
    for (let round = 0; round < options.rounds; round++) {
      await reached(() => ackedTotal(), ackedTotal() + options.ackedPerRound(round), gateway);
      await gateway.kill('SIGKILL');
      gateway = await startGateway(ports);
      options.onRound?.(round + 1, ackedTotal());
    }
    await Promise.all(devices.map((device) => device.drain()));
    const held = await heldSequences(gateway.url);
    const missing: string[] = [];
    const doubled: string[] = [];
    for (const device of devices) {
      const counts = held.get(device.name) ?? new Map<number, number>();
      missing.push(
        ...device.acked
          .filter((sequence) => !counts.has(sequence))
          .map((sequence) => `${device.name}#${sequence}`),
      );
      doubled.push(
        ...[...counts].filter(([, count]) => count > 1).map(([sequence]) => `${device.name}#${sequence}`),
      );
    }
    const audit = await tidemark(['audit', ports.dataDir, '--json']);
    const cleanStop = await gateway.kill('SIGTERM');
    const fsck = await tidemark(['fsck', ports.dataDir, '--deep', '--json']);
    return {
      rounds: options.rounds,
      acked: ackedTotal(),
      missing,
      doubled,
      audit: { code: audit.code, text: audit.stdout + audit.stderr },
      cleanStop,
      fsck: { code: fsck.code, text: fsck.stdout + fsck.stderr },
    };
  } finally {
    await gateway.kill('SIGKILL');
  }
}

async function reached(value: () => number, wanted: number, gateway: Gateway): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (value() < wanted) {
    if (Date.now() > deadline)
      throw new Error(`only ${value()} of ${wanted} records were acknowledged in time\n${gateway.output()}`);
    await new Promise((next) => setTimeout(next, 5));
  }
}

/** device → sequence → how often the log holds it. */
async function heldSequences(url: string): Promise<Map<string, Map<number, number>>> {
  const held = new Map<string, Map<number, number>>();
  let from = 0;
  for (;;) {
    const response = await fetch(`${url}/api/v1/records?from=${from}&limit=1000`);
    const page = (await response.json()) as {
      records: { device: string; sequence: number | null; topic: string }[];
      next: number;
    };
    for (const record of page.records) {
      if (record.topic.startsWith('$')) continue;
      const counts = held.get(record.device) ?? new Map<number, number>();
      counts.set(record.sequence!, (counts.get(record.sequence!) ?? 0) + 1);
      held.set(record.device, counts);
    }
    if (page.records.length === 0 || page.next === from) return held;
    from = page.next;
  }
}
