// Counts the connections of all listeners together, in total and by remote address, and says when one more is too
// many. Refuses to know a protocol: the listener closes, answers 503 or 0x97, and calls back when a connection ends.
import { isIPv6, type Server } from 'node:net';
import { z } from 'zod';

export const connectionsConfigSchema = z.strictObject({
  total: z
    .int()
    .min(1)
    .max(100_000)
    .default(8_192)
    .describe('Open connections of all listeners together; one more is refused (and counted).'),
  perAddress: z
    .int()
    .min(1)
    .max(100_000)
    .default(4_096)
    .describe(
      'Open connections from one address, of all listeners together. IPv6: from one /64. Set it low where each device has an address of its own.',
    ),
});

export type ConnectionsConfig = z.infer<typeof connectionsConfigSchema>;

export interface ConnectionCapsFigures {
  readonly open: number;
  readonly addresses: number;
  /** Connections refused since start: too many at all, too many from one address. */
  readonly refused: { readonly total: number; readonly address: number };
}

export type CapRefusal = 'total' | 'address';

/** A connection that counts until `end` is called, once or more often. */
export interface CountedConnection {
  end(): void;
}

export class ConnectionCaps {
  #config: ConnectionsConfig;
  readonly #open = new Map<string, number>();
  readonly #refused = { total: 0, address: 0 };
  #total = 0;

  constructor(config: ConnectionsConfig) {
    this.#config = config;
  }

  /** Other limits, for connections that come from now on. */
  update(config: ConnectionsConfig): void {
    this.#config = config;
  }

  /** Counts one more connection from `remoteAddress` (as the socket says), or says why it is one too many. */
  admit(remoteAddress: string | undefined): CountedConnection | CapRefusal {
    const key = addressKey(remoteAddress);
    const open = this.#open.get(key) ?? 0;
    if (this.#total >= this.#config.total) return this.#refuse('total');
    if (open >= this.#config.perAddress) return this.#refuse('address');
    this.#total += 1;
    this.#open.set(key, open + 1);
    let counted = true;
    return {
      end: () => {
        if (!counted) return;
        counted = false;
        this.#end(key);
      },
    };
  }

  figures(): ConnectionCapsFigures {
    return { open: this.#total, addresses: this.#open.size, refused: { ...this.#refused } };
  }

  #refuse(cap: CapRefusal): CapRefusal {
    this.#refused[cap] += 1;
    return cap;
  }

  #end(key: string): void {
    this.#total -= 1;
    const left = (this.#open.get(key) ?? 1) - 1;
    if (left > 0) this.#open.set(key, left);
    else this.#open.delete(key);
  }
}

/** Counts the connections of `server`; closes at once what is one too many. */
export function capConnections(server: Server, caps: ConnectionCaps): void {
  server.prependListener('connection', (socket) => {
    const counted = caps.admit(socket.remoteAddress);
    if (typeof counted === 'string') socket.destroy();
    else socket.once('close', counted.end);
  });
}

/** IPv4 as it is, also where it comes mapped into IPv6; IPv6 by its first 64 bits, which one host may use up freely. */
function addressKey(address: string | undefined): string {
  if (address === undefined) return '';
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped) return mapped[1]!;
  const plain = address.split('%', 1)[0]!;
  return isIPv6(plain) ? `${prefix64(plain)}::/64` : plain;
}

function prefix64(address: string): string {
  const [front = '', back] = address.toLowerCase().split('::');
  const head = front === '' ? [] : front.split(':');
  const tail = back === undefined || back === '' ? [] : back.split(':');
  // A dotted end takes the room of two groups.
  const groups = head.length + tail.length + (tail.at(-1)?.includes('.') ? 1 : 0);
  const zeros = back === undefined ? [] : Array<string>(Math.max(0, 8 - groups)).fill('0');
  return [...head, ...zeros, ...tail]
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':');
}
