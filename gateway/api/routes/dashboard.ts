// GET / and the built dashboard's files. Without a build it says how to make one.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance } from 'fastify';

const NOT_BUILT =
  'The dashboard is not built. In the repository, run `npm run build:dashboard` and start the gateway again.\n' +
  'The API works without it: try /api/v1/status.\n';

export async function dashboardRoutes(app: FastifyInstance, dashboardDir: string): Promise<void> {
  if (!existsSync(join(dashboardDir, 'index.html'))) {
    app.get('/', { config: { access: 'public' } }, async (_request, reply) =>
      reply.code(503).header('cache-control', 'no-store').type('text/plain; charset=utf-8').send(NOT_BUILT),
    );
    return;
  }
  const policy = ownPolicy(join(dashboardDir, VERIFY_PAGE));
  await app.register(async (scope) => {
    // The page itself holds nothing of anyone's; what it shows it asks for, with the token it is given.
    scope.addHook('onRoute', (route) => {
      route.config = { ...route.config, access: 'public' };
    });
    await scope.register(fastifyStatic, {
      root: dashboardDir,
      dotfiles: 'ignore',
      cacheControl: false,
      decorateReply: false,
      setHeaders: (reply, path) => {
        // Vite names files in assets/ by their content; the page itself must be asked for anew.
        const hashed = path.includes('/assets/') || path.includes('\\assets\\');
        reply.header('cache-control', hashed ? 'public, max-age=31536000, immutable' : 'no-cache');
        if (policy !== null && path.endsWith(VERIFY_PAGE)) reply.header('content-security-policy', policy);
      },
    });
  });
}

/** One file with its script inside, for saving: it brings a policy that names just that script. */
const VERIFY_PAGE = 'verify.html';

function ownPolicy(file: string): string | null {
  if (!existsSync(file)) return null;
  const policy = /http-equiv="content-security-policy" content="([^"]+)"/.exec(readFileSync(file, 'utf8'));
  return policy ? `${policy[1]}; frame-ancestors 'none'` : null;
}
