// The local door of administration: a Unix socket in the data directory, mode 0600. Whoever may open it may write the data
// directory, and with it everything administration could change: so nobody is asked for a token there. Speaks the same
// HTTP as the port.
import { rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Principal } from '../access/types.ts';

export const ADMIN_SOCKET = 'admin.sock';
/** Of sun_path, its final zero left out; the smallest there is (macOS). */
const PATH_BYTES_MAX = 103;
const CONNECTIONS_MAX = 16;

export const LOCAL_ADMIN: Principal = {
  name: 'local',
  role: 'admin',
  anonymous: false,
  device: null,
  expiresMs: null,
  mayPublish: () => true,
  maySubscribe: () => true,
  may: () => true,
};

export type LocalCallers = Pick<WeakSet<Socket>, 'has' | 'add'>;

export const adminSocketPath = (dataDir: string) => join(dataDir, ADMIN_SOCKET);

export interface LocalAdmin {
  close(): Promise<void>;
}

export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** Null where the path is too long for a socket. The caller has the data directory's lock, so no other one listens there. */
export async function startLocalAdmin(
  dataDir: string,
  callers: LocalCallers,
  handler: RequestHandler,
): Promise<LocalAdmin | null> {
  const path = adminSocketPath(dataDir);
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) return null;
  rmSync(path, { force: true });
  const server = createServer(handler);
  server.maxConnections = CONNECTIONS_MAX;
  server.on('connection', (socket: Socket) => callers.add(socket));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The file is made within listen(): at no moment may others open it.
    const mask = process.umask(0o177);
    try {
      server.listen(path, resolve);
    } finally {
      process.umask(mask);
    }
  });
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
