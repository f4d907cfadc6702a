// What goes wrong with clients: counted, and said in the gateway's log, not more often than is bearable. Decides nothing.
import type { Admission } from '../../admission/admission.ts';
import type { IngestLogger } from '../../admission/types.ts';
import { RefusalLog } from '../refusal-log.ts';
import type { Publish } from './publish.ts';
import { type PacketFault, REASON } from './reason.ts';
import type { Peer } from './transport.ts';

/** Of a connection, what is said of it. */
export interface Client {
  readonly clientId: string;
  readonly peer: Peer;
}

export class Trouble {
  readonly counts = { refused: 0, connectionsRefused: 0, malformed: 0, timeouts: 0 };
  readonly #admission: Admission;
  readonly #logger: IngestLogger;
  readonly #refusals: RefusalLog;

  constructor(admission: Admission, logger: IngestLogger) {
    this.#admission = admission;
    this.#logger = logger;
    this.#refusals = new RefusalLog(logger);
  }

  #facts(client: Client): object {
    return { client: client.clientId, address: client.peer.address };
  }

  publishRefused(client: Client, publish: Publish, closes: boolean): void {
    this.counts.refused += 1;
    const { cause: reason, detail } = publish;
    const what = closes ? 'mqtt: connection closed, publish refused' : 'mqtt: publish refused';
    this.#refusals.warn({ ...this.#facts(client), reason, detail }, what);
  }

  connectRefused(client: Client, code: number, detail: string): void {
    this.counts.connectionsRefused += 1;
    this.#admission.countRefusal('mqtt', code === REASON.badClientId ? 'malformed' : 'not-allowed');
    this.#refusals.warn({ ...this.#facts(client), code, detail }, 'mqtt: connection refused');
  }

  faulted(client: Client, fault: PacketFault): void {
    const isTooLarge = fault.code === REASON.packetTooLarge;
    if (!isTooLarge) this.counts.malformed += 1;
    this.#admission.countRefusal('mqtt', isTooLarge ? 'too-large' : 'malformed');
    const facts = { ...this.#facts(client), code: fault.code, detail: fault.message };
    this.#refusals.warn(facts, 'mqtt: connection closed, not what MQTT allows');
  }

  timedOut(client: Client, detail: string): void {
    this.counts.timeouts += 1;
    this.#refusals.warn(
      { ...this.#facts(client), detail },
      'mqtt: connection closed, nothing came or was taken in time',
    );
  }

  lost(client: Client, error: Error): void {
    this.#logger.debug({ ...this.#facts(client), detail: error.message }, 'mqtt: connection lost');
  }

  broken(client: Client, error: unknown): void {
    this.#logger.error({ ...this.#facts(client), err: error }, 'mqtt: a connection failed');
  }

  tooMany(facts: object): void {
    this.counts.connectionsRefused += 1;
    this.#refusals.warn(facts, 'mqtt: too many connections');
  }

  willRefused(client: string, reason: string, detail: string): void {
    this.#refusals.warn({ client, reason, detail }, 'mqtt: a will was refused');
  }

  sessionsDamaged(error: unknown): void {
    this.#logger.error(
      { err: error },
      'mqtt: sessions.db cannot be read and was set aside as sessions.db.damaged; clients start with new sessions',
    );
  }

  notSaved(detail: string): void {
    this.#logger.warn({ detail }, 'mqtt: sessions could not be saved; trying again');
  }
}
