// Owns sessions.db: what MQTT clients may rely on after a restart. Applies changes, and reads all back at the start.
// Refuses to hold telemetry. A row in doubt is left out and said so: nothing sealed or acknowledged hangs on it.
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { Subscription } from './decode.ts';
import type { Message, Qos } from './message.ts';
import type { Delivery } from './session.ts';
import type { Change, SavedSession, SavedWill } from './session-store.ts';

export const SESSIONS_FILE = 'sessions.db';

const MIGRATIONS: readonly string[] = [
  `CREATE TABLE sessions (
     client TEXT PRIMARY KEY,
     owner TEXT NOT NULL,             -- name of the principal it belongs to
     expiry_seconds INTEGER NOT NULL,
     ended_ms INTEGER NOT NULL        -- 0: connected when this was written
   ) STRICT;
   CREATE TABLE subscriptions (
     client TEXT NOT NULL,
     filter TEXT NOT NULL,
     qos INTEGER NOT NULL,
     options INTEGER NOT NULL,        -- bit 0 no local, bit 1 retain as published, bits 2-3 retain handling
     id INTEGER NOT NULL,             -- 0: none
     PRIMARY KEY (client, filter)
   ) STRICT;
   CREATE TABLE incoming (            -- QoS 2 publishes stored, whose PUBREL has not come
     client TEXT NOT NULL,
     packet_id INTEGER NOT NULL,
     PRIMARY KEY (client, packet_id)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE deliveries (          -- messages on their way to a client
     client TEXT NOT NULL,
     number INTEGER NOT NULL,         -- their order
     qos INTEGER NOT NULL,
     retain INTEGER NOT NULL,
     packet_id INTEGER NOT NULL,      -- 0: not sent yet
     state TEXT NOT NULL,             -- queued, sent, released
     subscription_ids TEXT NOT NULL,  -- JSON
     topic TEXT NOT NULL,
     payload BLOB NOT NULL,
     message TEXT NOT NULL,           -- JSON: [qos, retain, expiresMs, publisher]
     properties BLOB NOT NULL,        -- MQTT 5, encoded
     PRIMARY KEY (client, number)
   ) STRICT;
   CREATE TABLE retained (
     topic TEXT PRIMARY KEY,
     payload BLOB NOT NULL,
     message TEXT NOT NULL,
     properties BLOB NOT NULL
   ) STRICT;`,
  // 2: wills, of clients that are connected and of those that are gone
  `CREATE TABLE wills (
     number INTEGER PRIMARY KEY,      -- their order
     client TEXT NOT NULL,
     device TEXT,                     -- whose record it is; NULL: the client's
     topic TEXT NOT NULL,
     payload BLOB NOT NULL,
     qos INTEGER NOT NULL,
     retain INTEGER NOT NULL,
     properties BLOB NOT NULL,        -- MQTT 5, as in CONNECT
     due_ms INTEGER NOT NULL          -- when it is to be published; 0: its client was connected
   ) STRICT;`,
];

interface MessageRow {
  topic: string;
  payload: Uint8Array;
  message: string;
  properties: Uint8Array;
}

interface DeliveryRow extends MessageRow {
  client: string;
  number: number;
  qos: number;
  retain: number;
  packet_id: number;
  state: string;
  subscription_ids: string;
}

type WillRow = Omit<SavedWill, 'retain' | 'dueMs'> & { retain: number; due_ms: number };

type Statements = ReturnType<typeof prepare>;

/** What passes when there is room, memory or leave again, and says nothing of what stands in the file. */
const PASSING =
  /^SQLITE_(FULL|IOERR_(SHM|WRITE|FSYNC|TRUNCATE|LOCK|NOMEM)|CANTOPEN|BUSY|LOCKED|NOMEM|READONLY|PERM)/;

/** Written by a newer gateway: not to be touched. */
class VersionError extends Error {}

export class SessionDatabase {
  /**
   * What the last run left, through `read`. A file that cannot be read is set aside as `sessions.db.damaged` (one of
   * before is overwritten) and `onDamage` is told: clients then start with new sessions, which beats no gateway at all.
   * @throws Error when the machine does not let it be read now, e.g. for want of room: that is no damage.
   */
  static restore(
    dataDir: string,
    read: (database: SessionDatabase) => void,
    onDamage: (error: unknown) => void,
  ): void {
    try {
      const database = new SessionDatabase(dataDir);
      try {
        read(database);
      } finally {
        database.close();
      }
    } catch (error) {
      if (error instanceof VersionError) throw error;
      const file = join(dataDir, SESSIONS_FILE);
      if (error instanceof Database.SqliteError && PASSING.test(error.code))
        throw new Error(
          `${file} cannot be opened now (${error.message}, ${error.code}): is the disk full, or the file another user's?`,
          { cause: error },
        );
      for (const end of ['', '-wal', '-shm'])
        if (existsSync(`${file}${end}`)) renameSync(`${file}${end}`, `${file}.damaged${end}`);
      onDamage(error);
    }
  }

  readonly #database: Database.Database;
  readonly #statements: Statements;

  constructor(dataDir: string) {
    mkdirSync(dataDir, { recursive: true });
    this.#database = new Database(join(dataDir, SESSIONS_FILE), { timeout: 10_000 });
    this.#database.pragma('journal_mode = WAL');
    this.#database.pragma('synchronous = FULL');
    const version = this.#database.pragma('user_version', { simple: true }) as number;
    if (version > MIGRATIONS.length) {
      throw new VersionError(
        `${SESSIONS_FILE} has version ${version}, this gateway knows up to ${MIGRATIONS.length}: it was written by a newer one`,
      );
    }
    for (let next = version; next < MIGRATIONS.length; next += 1) {
      this.#database.transaction(() => {
        this.#database.exec(MIGRATIONS[next]!);
        this.#database.pragma(`user_version = ${next + 1}`);
      })();
    }
    this.#statements = prepare(this.#database);
  }

  /** All or nothing, and durable when it returns. */
  apply(changes: readonly Change[]): void {
    this.#database.transaction(() => {
      for (const change of changes) this.#apply(change);
    })();
  }

  sessions(): SavedSession[] {
    const subscriptions = new Map<string, Subscription[]>();
    const incoming = new Map<string, number[]>();
    const deliveries = new Map<string, Delivery[]>();
    const add = <T>(map: Map<string, T[]>, client: string, value: T) => {
      const list = map.get(client);
      if (list) list.push(value);
      else map.set(client, [value]);
    };
    const { readSessions, readSubscriptions, readIncoming, readDeliveries } = this.#statements;
    for (const row of readSubscriptions.all() as (Subscription & { client: string; options: number })[]) {
      const { client, filter, qos, options, id } = row;
      add(subscriptions, client, {
        filter,
        qos,
        noLocal: (options & 1) !== 0,
        retainAsPublished: (options & 2) !== 0,
        retainHandling: ((options >> 2) & 3) as 0 | 1 | 2,
        id,
      });
    }
    for (const row of readIncoming.all() as { client: string; packet_id: number }[])
      add(incoming, row.client, row.packet_id);
    for (const row of readDeliveries.iterate() as IterableIterator<DeliveryRow>)
      add(deliveries, row.client, deliveryOf(row));
    const rows = readSessions.all() as {
      client: string;
      owner: string;
      expiry_seconds: number;
      ended_ms: number;
    }[];
    return rows.map(({ client, owner, expiry_seconds, ended_ms }) => ({
      client,
      owner,
      expirySeconds: expiry_seconds,
      endedMs: ended_ms,
      subscriptions: subscriptions.get(client) ?? [],
      incoming: incoming.get(client) ?? [],
      deliveries: deliveries.get(client) ?? [],
    }));
  }

  retained(): Message[] {
    return (this.#statements.readRetained.all() as MessageRow[]).map(messageOf);
  }

  wills(): SavedWill[] {
    const rows = this.#statements.readWills.all() as WillRow[];
    return rows.map(({ due_ms, retain, payload, properties, ...same }) => ({
      ...same,
      payload: new Uint8Array(payload),
      properties: new Uint8Array(properties),
      retain: retain === 1,
      dueMs: due_ms,
    }));
  }

  close(): void {
    this.#database.close();
  }

  #apply(change: Change): void {
    const is = this.#statements;
    switch (change.kind) {
      case 'session':
        is.putSession.run(change.client, change.owner, change.expirySeconds, change.endedMs);
        return;
      case 'session-gone':
        for (const remove of is.removeSession) remove.run(change.client);
        return;
      case 'subscription': {
        const { filter, qos, noLocal, retainAsPublished, retainHandling, id } = change.subscription;
        const options = (noLocal ? 1 : 0) | (retainAsPublished ? 2 : 0) | (retainHandling << 2);
        is.putSubscription.run(change.client, filter, qos, options, id);
        return;
      }
      case 'subscription-gone':
        is.removeSubscription.run(change.client, change.filter);
        return;
      case 'incoming':
        is.putIncoming.run(change.client, change.packetId);
        return;
      case 'incoming-gone':
        is.removeIncoming.run(change.client, change.packetId);
        return;
      case 'delivery': {
        const { delivery, client } = change;
        const { topic, payload, properties } = delivery.message;
        is.putDelivery.run(
          client,
          delivery.number,
          delivery.qos,
          delivery.retain ? 1 : 0,
          delivery.packetId,
          delivery.state,
          JSON.stringify(delivery.subscriptionIds),
          topic,
          payload,
          messageText(delivery.message),
          properties,
        );
        return;
      }
      case 'delivery-gone':
        is.removeDelivery.run(change.client, change.number);
        return;
      case 'will': {
        const { number, client, device, topic, payload, qos, retain, properties, dueMs } = change.will;
        is.putWill.run(number, client, device, topic, payload, qos, retain ? 1 : 0, properties, dueMs);
        return;
      }
      case 'will-gone':
        is.removeWill.run(change.number);
        return;
      case 'retained': {
        const { topic, payload, properties } = change.message;
        is.putRetained.run(topic, payload, messageText(change.message), properties);
        return;
      }
      case 'retained-gone':
        is.removeRetained.run(change.topic);
    }
  }
}

function prepare(database: Database.Database) {
  const of = (sql: string) => database.prepare(sql);
  return {
    putSession: of('INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)'),
    removeSession: ['sessions', 'subscriptions', 'incoming', 'deliveries'].map((table) =>
      of(`DELETE FROM ${table} WHERE client = ?`),
    ),
    putSubscription: of('INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?, ?)'),
    removeSubscription: of('DELETE FROM subscriptions WHERE client = ? AND filter = ?'),
    putIncoming: of('INSERT OR REPLACE INTO incoming VALUES (?, ?)'),
    removeIncoming: of('DELETE FROM incoming WHERE client = ? AND packet_id = ?'),
    putDelivery: of('INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'),
    removeDelivery: of('DELETE FROM deliveries WHERE client = ? AND number = ?'),
    putWill: of('INSERT OR REPLACE INTO wills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)'),
    removeWill: of('DELETE FROM wills WHERE number = ?'),
    putRetained: of('INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?)'),
    removeRetained: of('DELETE FROM retained WHERE topic = ?'),
    readSessions: of('SELECT * FROM sessions ORDER BY client'),
    readSubscriptions: of('SELECT * FROM subscriptions ORDER BY client, filter'),
    readIncoming: of('SELECT * FROM incoming ORDER BY client, packet_id'),
    readDeliveries: of('SELECT * FROM deliveries ORDER BY client, number'),
    readWills: of('SELECT * FROM wills ORDER BY number'),
    readRetained: of('SELECT * FROM retained ORDER BY topic'),
  };
}

function messageText({ qos, retain, expiresMs, publisher }: Message): string {
  return JSON.stringify([qos, retain, expiresMs, publisher]);
}

function messageOf({ topic, payload, message, properties }: MessageRow): Message {
  const [qos, retain, expiresMs, publisher] = JSON.parse(message) as [Qos, boolean, number, string];
  // Of their own length: SQLite's buffers may be views.
  return {
    topic,
    payload: new Uint8Array(payload),
    properties: new Uint8Array(properties),
    qos,
    retain,
    expiresMs,
    publisher,
  };
}

function deliveryOf(row: DeliveryRow): Delivery {
  return {
    message: messageOf(row),
    qos: row.qos as Qos,
    retain: row.retain === 1,
    subscriptionIds: JSON.parse(row.subscription_ids) as number[],
    number: row.number,
    packetId: row.packet_id,
    state: row.state as Delivery['state'],
  };
}
