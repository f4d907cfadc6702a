// Sends what the broker writes to one client within a turn of the event loop as one write: its encoder hands over an
// acknowledgement in three pieces, and a turn can answer hundreds. Knows no packets and holds nothing beyond the turn.
import { Socket } from 'node:net';

/** Up to this much is copied together; more goes out as it is, by one gathering system call. */
const COPY_BYTES = 16 * 1024;

export class GatheredWrites {
  readonly #socket: Socket;
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  /** A caller was told to wait for 'drain'. */
  #owesDrain = false;
  readonly #flush = () => this.#send();

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** In place of the socket's own: false once so much waits that the caller should wait for 'drain'. */
  write(chunk: Uint8Array | string, encoding: BufferEncoding = 'utf8'): boolean {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk;
    // A crash of the socket before the flush loses what was gathered: as much as it would lose of its own buffer.
    if (this.#pieces.length === 0) process.nextTick(this.#flush);
    this.#pieces.push(bytes);
    this.#bytes += bytes.length;
    const socket = this.#socket;
    const room =
      !socket.writableNeedDrain && socket.writableLength + this.#bytes < socket.writableHighWaterMark;
    if (!room) this.#owesDrain = true;
    return room;
  }

  #send(): void {
    const socket = this.#socket;
    const pieces = this.#pieces;
    const bytes = this.#bytes;
    this.#pieces = [];
    this.#bytes = 0;
    if (socket.destroyed || socket.writableEnded) return;
    const { write, cork, uncork } = Socket.prototype;
    if (pieces.length === 1) write.call(socket, pieces[0]!);
    else if (bytes <= COPY_BYTES) write.call(socket, Buffer.concat(pieces, bytes));
    else {
      cork.call(socket);
      for (const piece of pieces) write.call(socket, piece);
      uncork.call(socket);
    }
    const owed = this.#owesDrain;
    this.#owesDrain = false;
    // What waited has left meanwhile: the socket itself sees no reason to call.
    if (owed && !socket.writableNeedDrain) process.nextTick(() => socket.emit('drain'));
  }
}

/** From now on the socket's writes are gathered. Whoever ends it gives the turn an end first. */
export function gatherWrites(socket: Socket): void {
  const gathered = new GatheredWrites(socket);
  socket.write = (chunk: Uint8Array | string, encoding?: unknown) =>
    gathered.write(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : undefined);
  // The broker's encoder corks what can be corked, and pays for it with a callback for every packet.
  Object.defineProperty(socket, 'cork', { value: undefined });
}
