// What every adapter owes its clients, whatever the protocol: an ack means on disk, a refusal is said and stores nothing,
// a repetition is stored once, also after a crash, and nothing acknowledged is lost under overload.
import { afterEach, describe, expect, test } from 'vitest';
import { Harness, type HarnessOptions } from '../gateway/admission/harness.ts';

/** How a message fared, as its sender knows it. A connection that was closed on it counts as refused. */
export type Fate = 'acked' | 'refused';

export interface AdapterClient {
  send(topic: string, payload: Buffer): Promise<Fate>;
  close(): Promise<void>;
}

export interface ServedAdapter {
  connect(name: string): Promise<AdapterClient>;
  close(): Promise<void>;
}

export type ServeAdapter = (harness: Harness) => Promise<ServedAdapter>;

const TOPIC = 'plant/pump-1/vibration';

/** What is owed, each by every adapter. */
export const OWED = [
  'ack only after sync',
  'refusals',
  'limits',
  'restart',
  'duplicates',
  'full disk',
  'overload',
] as const;
export type Owed = (typeof OWED)[number];

/** `adapter: owed` of each test there is. */
export const cells = new Set<string>();

export function adapterContract(name: string, serve: ServeAdapter): void {
  describe(`contract of adapters: ${name}`, () => {
    const owes = (owed: Owed, title: string, prove: () => Promise<void>) => {
      cells.add(`${name}: ${owed}`);
      test(`${owed}: ${title}`, prove);
    };
    let harness: Harness;
    let served: ServedAdapter;
    let clients: AdapterClient[] = [];

    async function start(options: HarnessOptions = {}): Promise<void> {
      harness = await Harness.open(options);
      served = await serve(harness);
    }
    async function client(id = 'client-1'): Promise<AdapterClient> {
      const made = await served.connect(id);
      clients.push(made);
      return made;
    }
    /** Of one message, on a connection of its own if the first was closed on it. */
    async function insist(payload: Buffer): Promise<void> {
      for (let fate: Fate = 'refused'; fate !== 'acked'; ) fate = await (await client()).send(TOPIC, payload);
    }
    const stored = async () =>
      (await harness.records()).map(({ payload }) => Buffer.from(payload).toString());
    const until = async (condition: () => boolean) => {
      while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
    };

    afterEach(async () => {
      harness.disk.full = false;
      harness.disk.release();
      for (const one of clients) await one.close();
      clients = [];
      await served.close();
      await harness.remove();
    });

    owes(
      'ack only after sync',
      'an ack leaves after the sync, not before, and the payload is stored byte for byte',
      async () => {
        await start();
        const one = await client();
        harness.disk.hold();
        const payload = Buffer.from('{ "value" : 1.50 }');
        let fate: Fate | null = null;
        const sent = one.send(TOPIC, payload).then((known) => {
          fate = known;
        });
        await harness.disk.syncAsked();
        for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve));
        expect(fate).toBeNull();
        harness.disk.release();
        await sent;
        expect(fate).toBe('acked');
        expect(await stored()).toEqual([payload.toString()]);
        expect((await harness.records())[0]).toMatchObject({ topic: TOPIC, device: 'pump-1' });
      },
    );

    async function refusesAndGoesOn(topic: string, payload: string): Promise<void> {
      await start({ ingest: { maxPayloadBytes: 1_024, maxTopicBytes: 64 } });
      expect(await (await client()).send(topic, Buffer.from(payload))).toBe('refused');
      const { rejected } = harness.admission.figures();
      expect(rejected['bad-topic'] + rejected['too-large']).toBe(1);
      expect(await (await client('client-2')).send(TOPIC, Buffer.from('1'))).toBe('acked');
      expect(await stored()).toEqual(['1']);
    }

    owes(
      'refusals',
      'a topic of the gateway’s own is refused, counted and stored nowhere; others are served',
      () => refusesAndGoesOn('$tidemark/x', '1'),
    );
    owes('limits', 'a payload beyond the limit likewise', () =>
      refusesAndGoesOn('plant/p/x', `"${'x'.repeat(2_000)}"`),
    );
    owes('limits', 'a topic beyond the limit likewise', () =>
      refusesAndGoesOn(`plant/p/${'x'.repeat(64)}`, '1'),
    );

    owes(
      'restart',
      'what was acknowledged before a crash is there after it, and further records follow',
      async () => {
        await start();
        for (const payload of ['1', '2']) await insist(Buffer.from(payload));
        await served.close();
        await harness.crash();
        await harness.start();
        served = await serve(harness);
        await insist(Buffer.from('3'));
        expect(await stored()).toEqual(['1', '2', '3']);
      },
    );

    owes(
      'duplicates',
      'a repetition is acknowledged and stored once, also after a crash of the gateway',
      async () => {
        await start();
        const payload = Buffer.from('{"seq":7,"value":1}');
        const first = await client();
        expect(await first.send(TOPIC, payload)).toBe('acked');
        expect(await first.send(TOPIC, payload)).toBe('acked');
        await first.close();
        await served.close();
        await harness.crash();
        await harness.start();
        served = await serve(harness);
        expect(await (await client('client-1b')).send(TOPIC, payload)).toBe('acked');
        expect(await stored()).toEqual([payload.toString()]);
      },
    );

    owes('full disk', 'a full disk acknowledges nothing, and serves again once there is space', async () => {
      await start();
      await insist(Buffer.from('0'));
      harness.disk.full = true;
      let fate: Fate | null = null;
      const sent = (await client('client-2')).send(TOPIC, Buffer.from('1')).then((known) => {
        fate = known;
      });
      await until(() => harness.admission.figures().shed['disk-full'] > 0);
      expect(fate).not.toBe('acked');
      expect(await stored()).toEqual(['0']);
      harness.disk.full = false;
      await sent;
      await insist(Buffer.from('2'));
      expect(new Set(await stored())).toEqual(new Set(fate === 'acked' ? ['0', '1', '2'] : ['0', '2']));
    });

    owes(
      'overload',
      'under overload what is acknowledged is stored, and what is refused is said',
      async () => {
        await start({ log: { maxRecordBytes: 32_768, maxPendingBytes: 65_536 } });
        harness.disk.hold();
        const fates = Array.from({ length: 24 }, async (_, place) => {
          const payload = Buffer.from(`"${place}-${'x'.repeat(8_000)}"`);
          return [payload.toString(), await (await client(`client-${place}`)).send(TOPIC, payload)] as const;
        });
        await until(() => harness.admission.figures().shed.overloaded > 0);
        harness.disk.release();
        const known = await Promise.all(fates);
        const inLog = new Set(await stored());
        const acked = known.filter(([, fate]) => fate === 'acked');
        expect(acked.length).toBeGreaterThan(0);
        for (const [payload] of acked) expect(inLog.has(payload)).toBe(true);
        await insist(Buffer.from('"after"'));
      },
    );
  });
}
