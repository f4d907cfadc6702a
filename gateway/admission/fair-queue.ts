// Shares the log's attention between those who send: so much is under way in the log at a time, and what has to wait
// waits in a lane of its own, one for each connection (or device), served in turn by bytes (deficit round robin,
// Shreedhar and Varghese 1995). A lane may hold as much as is still free (dynamic thresholds, Choudhury and Hahne 1998):
// one flooding sender fills half the queue at most, and whoever comes next waits for one turn, not for the flood.
// Keeps each lane's order; knows nothing of records.
import { z } from 'zod';

const MIB = 1024 * 1024;

export const fairnessConfigSchema = z.strictObject({
  windowBytes: z
    .int()
    .min(64 * 1024)
    .max(256 * MIB)
    .default(4 * MIB)
    .describe(
      'Bytes under way in the log at a time. What comes meanwhile waits its turn: smaller is fairer, larger makes larger groups for slow disks.',
    ),
  queueBytes: z
    .int()
    .min(MIB)
    .max(1024 * MIB)
    .default(32 * MIB)
    .describe(
      'Bytes that may wait for their turn. One connection (or device) gets at most what is still free, so half of it when it floods alone; beyond it is `overloaded`. QoS 0 gets half of that.',
    ),
});

export type FairnessConfig = z.infer<typeof fairnessConfigSchema>;

/** Bytes a lane may send in one turn, more or less. */
const QUANTUM_BYTES = 16 * 1024;

/** What waits carries its own place in the lane: under load one of these is made for every record. */
export interface Queued<Item> {
  readonly bytes: number;
  /** The queue's own; null until it is offered. */
  next: Item | null;
}

interface Lane<Item> {
  readonly key: object | string;
  head: Item | null;
  tail: Item | null;
  bytes: number;
  deficit: number;
  /** The lane whose turn is after this one; the lanes with something to send form a ring. */
  following: Lane<Item> | null;
}

export class FairQueue<Item extends Queued<Item>> {
  readonly #send: (item: Item) => void;
  readonly #lanes = new Map<object | string, Lane<Item>>();
  #config: FairnessConfig;
  /** The lane before the one whose turn it is. */
  #before: Lane<Item> | null = null;
  #underWay = 0;
  #waitingBytes = 0;
  #waiting = 0;

  /** `send` hands an item on; finished() must follow for each, later. */
  constructor(config: FairnessConfig, send: (item: Item) => void) {
    this.#config = config;
    this.#send = send;
  }

  get figures(): { readonly lanes: number; readonly items: number; readonly bytes: number } {
    return { lanes: this.#lanes.size, items: this.#waiting, bytes: this.#waitingBytes };
  }

  update(config: FairnessConfig): void {
    this.#config = config;
    this.#release();
  }

  /** Sends it, or lets it wait; false: there is no room for it in its lane. `modest`: half the room must do. */
  offer(key: object | string, item: Item, modest: boolean): boolean {
    const { bytes } = item;
    if (this.#waiting === 0 && this.#underWay < this.#config.windowBytes) {
      this.#underWay += bytes;
      this.#send(item);
      return true;
    }
    const known = this.#lanes.get(key);
    const free = this.#config.queueBytes - this.#waitingBytes;
    if ((known?.bytes ?? 0) + bytes > (modest ? free / 2 : free)) return false;
    this.#add(known ?? this.#lane(key), item);
    return true;
  }

  /** An item sent is done with. */
  finished(bytes: number): void {
    this.#underWay -= bytes;
    if (this.#waiting > 0) this.#release();
  }

  #lane(key: object | string): Lane<Item> {
    const lane: Lane<Item> = { key, head: null, tail: null, bytes: 0, deficit: 0, following: null };
    this.#lanes.set(key, lane);
    // The newcomer's turn is the last of this round.
    lane.following = this.#before?.following ?? lane;
    if (this.#before) this.#before.following = lane;
    this.#before = lane;
    return lane;
  }

  #add(lane: Lane<Item>, waiting: Item): void {
    if (lane.tail) lane.tail.next = waiting;
    else lane.head = waiting;
    lane.tail = waiting;
    lane.bytes += waiting.bytes;
    this.#waitingBytes += waiting.bytes;
    this.#waiting += 1;
  }

  #release(): void {
    while (this.#waiting > 0 && this.#underWay < this.#config.windowBytes) {
      const lane = this.#before!.following!;
      const { head } = lane;
      if (head === null) this.#remove(lane);
      else if (lane.deficit < head.bytes) {
        lane.deficit += QUANTUM_BYTES;
        this.#before = lane;
      } else this.#take(lane, head);
    }
    // Lanes that have just been emptied go with the next turn; the last ones now.
    if (this.#waiting === 0) {
      this.#lanes.clear();
      this.#before = null;
    }
  }

  #take(lane: Lane<Item>, head: Item): void {
    lane.head = head.next;
    if (head.next === null) lane.tail = null;
    head.next = null;
    lane.bytes -= head.bytes;
    lane.deficit -= head.bytes;
    this.#waitingBytes -= head.bytes;
    this.#waiting -= 1;
    this.#underWay += head.bytes;
    this.#send(head);
  }

  /** An empty lane keeps no credit for later. */
  #remove(lane: Lane<Item>): void {
    this.#lanes.delete(lane.key);
    if (lane.following === lane) this.#before = null;
    else this.#before!.following = lane.following;
  }
}
