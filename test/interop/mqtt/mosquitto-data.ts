// Plays the packet sequences of eclipse/mosquitto's test/broker/data (a copy fetched by whoever runs this) to our
// listener: `node test/interop/mqtt/mosquitto-data.ts <copy> [file …]`. Exits 1 when one fails.
//
// A CONNACK counts by its flags and code: which limits a broker offers is its own. Where a DISCONNECT with one reason is
// expected, another reason, or the plain end of the connection, counts as passed "otherwise": MQTT 5 §4.13.1 lets the
// server choose, and malformed and protocol error overlap.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packet, publishPacket, pubrelPacket, text, Wire } from '../../gateway/ingest/mqtt/wire.ts';
import { startSubject } from './subject.ts';

interface Step {
  readonly type: 'send' | 'recv' | 'publish';
  readonly payload?: string;
  readonly topic?: string;
  readonly qos?: 0 | 1 | 2;
}

interface Sequence {
  readonly name: string;
  readonly ver?: number;
  readonly connect?: boolean;
  readonly expect_disconnect?: boolean;
  readonly msgs: readonly Step[];
}

interface Group {
  readonly group: string;
  readonly disable?: boolean;
  readonly tests: readonly Sequence[];
}

type Verdict = 'passed' | 'otherwise' | { failed: string };

const LIMIT_MS = 2_000;
const [copy, ...only] = process.argv.slice(2);
const folder = copy === undefined ? '' : join(copy, 'test', 'broker', 'data');
if (copy === undefined || !existsSync(folder)) {
  console.log('skipped: give the path of a copy of github.com/eclipse/mosquitto');
  process.exit(0);
}

class Player {
  readonly #port: number;
  #otherwise = false;

  constructor(port: number) {
    this.#port = port;
  }

  async play(group: string, sequence: Sequence): Promise<Verdict> {
    const wire = await Wire.open(this.#port);
    this.#otherwise = false;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<Verdict>((resolve) => {
      timer = setTimeout(() => resolve({ failed: 'nothing came for two seconds' }), LIMIT_MS);
    });
    try {
      return await Promise.race([this.#steps(wire, `${group} ${sequence.name}`, sequence), late]);
    } catch (error) {
      return { failed: (error as Error).message };
    } finally {
      clearTimeout(timer);
      wire.socket.destroy();
    }
  }

  async #steps(wire: Wire, name: string, sequence: Sequence): Promise<Verdict> {
    const { ver = 4, connect = true, expect_disconnect: expectsEnd = true, msgs } = sequence;
    if (connect) {
      wire.socket.write(connectOf(name, ver));
      const connack = await wire.packet();
      if (connack?.[0] !== 0x20 || connack.at(ver === 5 && connack[1]! >= 0x80 ? 4 : 3) !== 0)
        return { failed: 'not connected' };
    }
    for (const step of msgs) {
      if (step.type === 'send') wire.socket.write(bytesOf(step));
      else if (step.type === 'publish') await this.#publish(step);
      else {
        const got = await wire.packet();
        const problem = this.#judge(bytesOf(step), got, expectsEnd);
        if (problem !== null) return { failed: problem };
        if (got === null) return 'otherwise';
      }
    }
    if (expectsEnd) {
      const more = await wire.packet();
      // A reason before the end, where none is asked for, says more than nothing.
      if (more !== null && (more[0]! & 0xf0) !== 0xe0 && more[0] !== 0x20)
        return { failed: `still connected: ${more.toString('hex')}` };
      await wire.closed();
    } else {
      wire.socket.write(Buffer.from([0xc0, 0]));
      const pong = await wire.packet();
      if (pong?.[0] !== 0xd0) return { failed: `no PINGRESP but ${pong?.toString('hex') ?? 'the end'}` };
    }
    return this.#otherwise ? 'otherwise' : 'passed';
  }

  #judge(expected: Buffer, got: Buffer | null, expectsEnd: boolean): string | null {
    if (got?.equals(expected)) return null;
    const says = got === null ? 'the end' : got.toString('hex');
    const different = `expected ${expected.toString('hex')}, got ${says}`;
    if (expected[0] === 0xe0 && expectsEnd && (got === null || got[0] === 0xe0)) {
      this.#otherwise = true;
      return null;
    }
    if (got !== null && isOtherWord(expected, got)) {
      this.#otherwise = true;
      return null;
    }
    if (expected[0] === 0x20 && got?.[0] === 0x20)
      return got.at(-1) === 0 || codeOf(got) === codeOf(expected) ? sameConnack(expected, got) : different;
    return different;
  }

  async #publish({ topic = '', payload = '', qos = 0 }: Step): Promise<void> {
    const helper = await Wire.connected(this.#port, 'helper');
    helper.socket.write(publishPacket(topic, payload, { qos, id: 1 }));
    if (qos > 0) await helper.packet();
    if (qos === 2) {
      helper.socket.write(pubrelPacket(1));
      await helper.packet();
    }
    helper.socket.write(Buffer.from([0xc0, 0]));
    await helper.packet();
    helper.socket.destroy();
  }
}

/**
 * PUBACK with "no matching subscribers" is the server's to say or not (MQTT 5 §3.4.2.1); PUBREL and PUBCOMP of an unknown
 * identifier say so (§3.6.2.1, §3.7.2.1).
 */
function isOtherWord(expected: Buffer, got: Buffer): boolean {
  const [want, have] = [expected.toString('hex'), got.toString('hex')];
  if (want === `4003${want.slice(4, 8)}10`) return have === `4002${want.slice(4, 8)}`;
  const type = want.slice(0, 2);
  return (type === '62' || type === '70') && have === `${type}03${want.slice(4, 8)}92`;
}

/** [MQTT5-3.3.4-6]: a client must not send it. */
const isWrongTest = ({ name }: Sequence) => /^subscription-identifier=(?!0 )/.test(name);

const bytesOf = ({ payload = '' }: Step) => Buffer.from(payload.replaceAll(' ', ''), 'hex');

/** The code stands after the length, which may take two bytes. */
const codeOf = (connack: Buffer) => connack[connack[1]! >= 0x80 ? 4 : 3];
const flagsOf = (connack: Buffer) => connack[connack[1]! >= 0x80 ? 3 : 2];

function sameConnack(expected: Buffer, got: Buffer): string | null {
  return codeOf(got) === codeOf(expected) && flagsOf(got) === flagsOf(expected)
    ? null
    : `expected ${expected.toString('hex')}, got ${got.toString('hex')}`;
}

function connectOf(clientId: string, version: number): Buffer {
  const protocol = version === 3 ? 'MQIsdp' : 'MQTT';
  const properties = version === 5 ? [0] : [];
  return packet(0x10, text(protocol), [version, 2, 0, 60], properties, text(clientId));
}

const subject = await startSubject();
const player = new Player(subject.server.port);
const sums = new Map<string, { passed: number; otherwise: number; wrong: number; all: number }>();
for (const file of readdirSync(folder).sort()) {
  if (!file.endsWith('.json') || (only.length > 0 && !only.includes(file))) continue;
  for (const { group, disable = false, tests } of JSON.parse(
    readFileSync(join(folder, file), 'utf8'),
  ) as Group[]) {
    if (disable) continue;
    for (const sequence of tests) {
      const verdict = await player.play(group, sequence);
      const family = group.startsWith('v5') ? '5' : '3.1 and 3.1.1';
      const sum = sums.get(family) ?? { passed: 0, otherwise: 0, wrong: 0, all: 0 };
      sums.set(family, sum);
      sum.all += 1;
      if (verdict === 'passed') sum.passed += 1;
      else if (verdict === 'otherwise') sum.otherwise += 1;
      else if (isWrongTest(sequence) && verdict.failed.endsWith('got e00182')) sum.wrong += 1;
      else console.log(`FAILED  ${file}  ${group.trim()} | ${sequence.name.trim()}: ${verdict.failed}`);
    }
  }
}
let failed = 0;
for (const [family, { passed, otherwise, wrong, all }] of sums) {
  const bad = all - passed - otherwise - wrong;
  failed += bad;
  console.log(
    `MQTT ${family}: ${passed} passed, ${otherwise} otherwise, ${wrong} wrong tests, ${bad} failed, of ${all}`,
  );
}
for (const error of subject.errors()) console.log(`the gateway logged an error: ${error}`);
await subject.stop();
process.exit(failed > 0 || subject.errors().length > 0 ? 1 : 0);
