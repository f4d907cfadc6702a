// /api/v1/admin/…: names, secrets and the configuration, for who may administer. Answers hold secrets exactly once, where
// they are made.
import type { FastifyInstance, FastifyReply } from 'fastify';
import { AdminError, type AdminErrorCode, type Administration } from '../../access/administration.ts';
import { type Problem, sendProblem } from '../../ingest/problem.ts';
import { LogError } from '../../log/types.ts';

/** What `tidemark config apply` and SIGHUP have brought about. */
export interface Applied {
  /** Keys of the configuration, dotted, that count from now on. */
  readonly applied: readonly string[];
  /** Changed in the file, and counting only after a restart. */
  readonly restart: readonly string[];
}

export interface AdminDeps {
  readonly administration: Administration;
  /** Reads the configuration again. Rejects with an error for people when it can't be used; nothing has changed then. */
  apply(by: string): Promise<Applied>;
}

const STATUS: Readonly<Record<AdminErrorCode, number>> = {
  MALFORMED: 400,
  UNKNOWN_NAME: 404,
  NAME_TAKEN: 409,
  REVOKED: 409,
  TOO_MANY: 409,
};

export function adminRoutes(app: FastifyInstance, { administration, apply }: AdminDeps): void {
  const act = (path: string, work: (body: unknown, by: string) => Promise<object>) => {
    // What is malformed is thrown at once, and not by the promise.
    const run = async (body: unknown, by: string) => work(body, by);
    app.post(`/api/v1/admin/${path}`, { config: { access: 'administer' } }, async (request, reply) => {
      const answer = await run(request.body ?? {}, request.principal!.name).catch(problemFor);
      return 'status' in answer ? sendProblem(reply, answer as Problem) : send(reply, answer);
    });
  };
  app.get('/api/v1/admin/principals', { config: { access: 'administer' } }, async (_request, reply) =>
    send(reply, { principals: administration.list() }),
  );
  act('add', (body, by) => administration.add(body, by));
  act('import', async (body, by) => ({ issued: await administration.import(body, by) }));
  act('revoke', async (body, by) => {
    await administration.revoke(body, by);
    return {};
  });
  act('rotate', (body, by) => administration.rotate(body, by));
  act('reset-admin', (_body, by) => administration.resetAdmin(by));
  act('apply', (_body, by) => apply(by));
}

const send = (reply: FastifyReply, answer: object) => reply.header('cache-control', 'no-store').send(answer);

function problemFor(error: unknown): Problem {
  if (error instanceof AdminError) {
    const detail = error.hint === undefined ? `${error.message}.` : `${error.message}; ${error.hint}.`;
    return { status: STATUS[error.code], code: error.code.toLowerCase().replaceAll('_', '-'), detail };
  }
  if (error instanceof LogError && error.code !== 'SEGMENT_DAMAGED') {
    // An act that cannot be recorded is not done.
    const detail = `Nothing was changed: the act could not be recorded (${error.message}).`;
    return {
      status: 503,
      code: error.code === 'DISK_FULL' ? 'disk-full' : 'unavailable',
      detail,
      retryAfterMs: 5_000,
    };
  }
  const { exitCode, message } = error as { exitCode?: unknown; message?: unknown };
  // Of the configuration: every line at fault is named.
  if (exitCode === 2 && typeof message === 'string')
    return { status: 400, code: 'bad-configuration', detail: message };
  throw error;
}
