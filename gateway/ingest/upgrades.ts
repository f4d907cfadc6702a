// Shares one HTTP server among those who take WebSocket upgrades: each has a path. Whoever asks for another path is
// told so; nobody's socket is left open for ever.
import { type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { CHALLENGE, PROBLEM_TYPE, type Problem, problemText, retryAfterSeconds } from './problem.ts';

export type OnUpgrade = (request: IncomingMessage, socket: Socket, head: Buffer) => void;

const taken = new WeakMap<Server, Map<string, OnUpgrade>>();

/** Upgrades of `path` go to `onUpgrade` until the returned function is called. */
export function takeUpgrades(server: Server, path: string, onUpgrade: OnUpgrade): () => void {
  let paths = taken.get(server);
  if (paths === undefined) {
    const known = new Map<string, OnUpgrade>();
    paths = known;
    taken.set(server, known);
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      const take = known.get(request.url?.split('?', 1)[0] ?? '');
      if (take !== undefined) take(request, socket as Socket, head);
      // Somebody else may know the path.
      else if (server.listenerCount('upgrade') === 1) {
        const detail = `There is no WebSocket at this path, try ${[...known.keys()].join(' or ') || 'later'}.`;
        refuseUpgrade(socket as Socket, { status: 404, code: 'not-found', detail });
      }
    });
  }
  paths.set(path, onUpgrade);
  return () => void paths.delete(path);
}

export function refuseUpgrade(socket: Socket, problem: Problem): void {
  const { status, retryAfterMs } = problem;
  const body = problemText(problem);
  const retry = retryAfterMs === undefined ? '' : `Retry-After: ${retryAfterSeconds(retryAfterMs)}\r\n`;
  const challenge = status === 401 ? `WWW-Authenticate: ${CHALLENGE}\r\n` : '';
  socket.on('error', () => {});
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: ${PROBLEM_TYPE}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n${retry}${challenge}\r\n${body}`,
  );
}
