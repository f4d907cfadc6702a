// The contract every sink keeps, run on a real upstream: what a forwarder relies on for order and for losing nothing.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { offset } from '../../ledger/format/brand.ts';
import { SOURCE, type TelemetryRecord } from '../../ledger/format/record.ts';
import { type Sink, SinkError } from '../../sync/sink.ts';

/** A real upstream behind a link that the suite can cut. */
export interface SinkHarness {
  start(): Promise<void>;
  stop(): Promise<void>;
  /** A sink with the right credentials that goes through the link. */
  sink(): Sink;
  /** A sink the upstream must refuse, and the secret it holds. */
  refusedSink(): { sink: Sink; secret: string };
  /** The link: cut ends connections and refuses new ones; hold keeps acknowledgements back until the next cut. */
  cut(): Promise<void>;
  open(): Promise<void>;
  hold(): void;
  /** Payload texts that arrived, in order. */
  arrived(): readonly string[];
  forget(): void;
  /** Resolves when at least `count` arrived. */
  untilArrived(count: number): Promise<void>;
}

export function record(at: number, fields: Partial<TelemetryRecord> = {}): TelemetryRecord {
  return {
    offset: offset(at),
    eventMs: 1_763_600_000_000 + at,
    receivedMs: 1_763_600_000_500 + at,
    topic: 'plant/pump-1/vibration',
    device: 'pump-1',
    sequence: at,
    source: SOURCE.mqtt,
    contentType: '',
    headers: [],
    payload: new TextEncoder().encode(`{"value":${at}}`),
    salt: new Uint8Array(),
    ...fields,
  };
}

export const records = (from: number, to: number): TelemetryRecord[] =>
  Array.from({ length: to - from }, (_, index) => record(from + index));

const texts = (from: number, to: number) =>
  records(from, to).map((entry) => new TextDecoder().decode(entry.payload));
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof SinkError ? error.code : String(error)),
  );

export function sinkContract(name: string, harness: SinkHarness): void {
  describe(`sink contract: ${name}`, () => {
    const never = new AbortController().signal;
    let sink: Sink;
    beforeAll(() => harness.start());
    afterAll(() => harness.stop());
    beforeEach(() => {
      harness.forget();
      sink = harness.sink();
    });
    afterEach(() => sink.close());

    test('a resolved send means all of it arrived, in order', async () => {
      await sink.connect(never);
      await sink.send(records(0, 500));
      await harness.untilArrived(500);
      expect(harness.arrived()).toEqual(texts(0, 500));
    });

    test('overlapping sends keep the order they were given in', async () => {
      await sink.connect(never);
      await Promise.all([
        sink.send(records(0, 7)),
        sink.send([]),
        sink.send(records(7, 300)),
        sink.send(records(300, 301)),
      ]);
      await harness.untilArrived(301);
      expect(harness.arrived()).toEqual(texts(0, 301));
    });

    test('a send without a connection rejects', async () => {
      expect(await codeOf(sink.send(records(0, 1)))).toBe('CLOSED');
    });

    test('a send does not resolve while the upstream has not acknowledged', async () => {
      await sink.connect(never);
      harness.hold();
      const sent = codeOf(sink.send(records(0, 10)));
      await harness.untilArrived(10);
      await harness.cut();
      expect(await sent).toBe('LOST');
      expect(await codeOf(sink.send(records(10, 11)))).toBe('LOST');
      await harness.open();
    });

    test('after a lost connection the next connect works, and nothing is repeated behind the caller', async () => {
      await sink.connect(never);
      harness.hold();
      const sent = codeOf(sink.send(records(0, 5)));
      await harness.untilArrived(5);
      await harness.cut();
      await sent;
      await harness.open();
      await sink.connect(never);
      await sink.send(records(5, 8));
      await harness.untilArrived(8);
      expect(harness.arrived()).toEqual(texts(0, 8));
    });

    test('an unreachable upstream rejects connect, and a later connect succeeds', async () => {
      await harness.cut();
      expect(await codeOf(sink.connect(never))).toBe('UNREACHABLE');
      await harness.open();
      await sink.connect(never);
      await sink.send(records(0, 1));
    });

    test('refused credentials say so without saying the secret', async () => {
      const { sink: refused, secret } = harness.refusedSink();
      const error = await refused.connect(never).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(SinkError);
      expect((error as SinkError).code).toBe('REFUSED');
      expect(
        JSON.stringify([
          (error as SinkError).message,
          (error as SinkError).facts,
          String((error as SinkError).cause),
        ]),
      ).not.toContain(secret);
      await refused.close();
    });

    test('an aborted connect rejects', async () => {
      expect(await codeOf(sink.connect(AbortSignal.abort()))).toBe('CLOSED');
    });

    test('close rejects what is unsettled, and may be called again', async () => {
      await sink.connect(never);
      harness.hold();
      const sent = codeOf(sink.send(records(0, 3)));
      await harness.untilArrived(3);
      await Promise.all([sink.close(), sink.close()]);
      expect(await sent).toBe('CLOSED');
      await harness.cut();
      await harness.open();
    });
  });
}
