// Gives an accepted TCP socket the buffer it reads into: one for all of them, instead of 64 KiB that Node allocates, cuts
// to size and gives back for every read. Reads nothing itself; what it hands on belongs to the receiver.
//
// `onread` is documented for sockets that connect, not for those a server accepts: so the handle changes hands. Where
// Node no longer has one, the socket is used as it is (docs/decisions/0010).
import { Socket, type SocketConstructorOpts } from 'node:net';

const READ_BYTES = 64 * 1024;
/** A read is handed on before the next one begins, whichever socket it is of. */
const buffer = Buffer.allocUnsafeSlow(READ_BYTES);

interface WithHandle {
  _handle?: object | null;
}

/** The same connection as a new socket, which emits `data`; `accepted` ends with it. */
export function withSharedReads(accepted: Socket, highWaterMark: number): Socket {
  const before = accepted as unknown as WithHandle;
  const handle = before._handle;
  if (!handle) return accepted;
  before._handle = null;
  const options = {
    handle,
    highWaterMark,
    onread: {
      buffer,
      callback: (length: number) => {
        const chunk = Buffer.allocUnsafe(length);
        buffer.copy(chunk, 0, 0, length);
        socket.emit('data', chunk);
        return true;
      },
    },
  };
  const socket: Socket = new Socket(options as SocketConstructorOpts);
  socket.once('close', () => accepted.destroy());
  return socket;
}
