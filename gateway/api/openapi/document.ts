// GET /api/v1/openapi.json: the OpenAPI 3.1 document of the routes that this server really has. Describes none that is not
// there; one that nobody has described is in it all the same, marked so.
import type { FastifyInstance } from 'fastify';
import type { HttpIngest } from '../../ingest/http/ingest.ts';
import { OPERATIONS, type Operation } from './operations.ts';
import { SCHEMAS } from './schemas.ts';

export interface RegisteredRoute {
  readonly method: string;
  /** As the router has it: `:name`, and `*` for the rest. */
  readonly path: string;
}

/** What stands for `*`, which OpenAPI does not have. */
const REST: Readonly<Record<string, string>> = {
  '/api/v1/ingest/*': 'topic',
  '/ledger/*': 'path',
  '/*': 'file',
};

/** Call before routes are registered; the document knows all that come after. */
export function openApiRoute(
  app: FastifyInstance,
  version: string,
  ingest: Pick<HttpIngest, 'routes'>,
): void {
  const routes: RegisteredRoute[] = ingest.routes.flatMap(({ path, methods }) =>
    methods.map((method) => ({ method, path })),
  );
  app.addHook('onRoute', ({ method, url }) => {
    // HEAD goes with GET; the dashboard's single files go with its wildcard.
    for (const one of [method].flat())
      if (one !== 'HEAD' && !url.includes('.html') && !url.startsWith('/assets'))
        routes.push({ method: one, path: url });
  });
  app.get('/api/v1/openapi.json', { config: { access: 'public' } }, async (_request, reply) =>
    reply.header('cache-control', 'no-cache').send(openApiDocument(version, routes)),
  );
}

export function openApiDocument(version: string, routes: readonly RegisteredRoute[]): object {
  const paths: Record<string, Record<string, Operation>> = {};
  for (const { method, path } of routes) {
    const operation = OPERATIONS[`${method} ${path}`] ?? undescribed(path);
    paths[templateOf(path)] = { ...paths[templateOf(path)], [method.toLowerCase()]: operation };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tidemark gateway',
      version,
      description:
        'Ingest is answered after the record is on disk. WebSocket ingest is at /ws: see docs/protocols.md.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    security: [{}, { bearer: [] }, { basic: [] }],
    tags: [{ name: 'ingest' }, { name: 'reading' }, { name: 'administration' }],
    paths,
    components: {
      schemas: SCHEMAS,
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        basic: { type: 'http', scheme: 'basic' },
      },
    },
  };
}

const templateOf = (path: string) =>
  path.replaceAll(/:([A-Za-z]+)/g, '{$1}').replace('*', `{${REST[path] ?? 'rest'}}`);

const UNDESCRIBED = 'Not described';

const undescribed = (path: string): Operation => ({
  summary: UNDESCRIBED,
  tags: ['reading'],
  parameters: [...templateOf(path).matchAll(/\{([^}]+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  })),
  responses: { default: { description: UNDESCRIBED } },
});
