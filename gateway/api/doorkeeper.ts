// Puts the door before every route, and asks of each caller the right that the route names. A route that names none
// can be read by who may read. Routes of their own judgement (ingest) ask the door themselves.
import type { FastifyInstance } from 'fastify';
import { isLoopback } from '../access/anonymous.ts';
import type { Principal, Right } from '../access/types.ts';
import type { CallerGuard } from '../ingest/caller.ts';
import type { Door } from '../ingest/door.ts';
import { sendProblem } from '../ingest/problem.ts';
import { LOCAL_ADMIN, type LocalCallers } from './local-admin.ts';

/** `public`: shows nothing of anyone's, so anyone may. `own`: the route asks the door itself. */
export type RouteAccess = Right | 'public' | 'own';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a caller needs. Default 'read'. */
    access?: RouteAccess;
  }
  interface FastifyRequest {
    /** Who is calling; null on routes that are public or judge for themselves. */
    principal: Principal | null;
  }
}

export interface DoorkeeperDeps {
  readonly door: Door;
  readonly guard: CallerGuard;
  /** Connections to the local admin socket. */
  readonly local?: LocalCallers | undefined;
}

const WORDS: Readonly<Record<Right, string>> = {
  read: 'read records, figures and devices',
  prove: 'ask for proofs and ledger files',
  administer: 'administer this gateway',
};

export function useDoor(app: FastifyInstance, { door, guard, local }: DoorkeeperDeps): void {
  app.decorateRequest('principal', null);
  app.addHook('onRequest', async (request, reply) => {
    const wanted = request.routeOptions.config.access ?? 'read';
    if (wanted === 'own') return;
    const { raw } = request;
    if (wanted === 'public') {
      const problem = isLoopback(raw.socket.remoteAddress) ? guard.judge(raw) : null;
      return problem === null ? undefined : sendProblem(reply, problem);
    }
    const { principal, problem } = local?.has(raw.socket)
      ? { principal: LOCAL_ADMIN, problem: null }
      : await door.judge(raw);
    if (principal === null) return sendProblem(reply, problem);
    if (!principal.may(wanted)) {
      const who = principal.anonymous ? 'A caller without a name' : `${principal.name} (${principal.role})`;
      const detail = `${who} may not ${WORDS[wanted]}.`;
      return sendProblem(reply, { status: 403, code: 'not-allowed', detail });
    }
    request.principal = principal;
  });
}
