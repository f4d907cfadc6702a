// Makes verify.html, one file with everything in it, when the dashboard is built: script and style are inside, and its own
// policy lets it run nothing else and ask nobody.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Plugin, type Rolldown } from 'vite';

const here = import.meta.dirname;

export function verifyPage(): Plugin {
  return {
    name: 'verify-page',
    apply: 'build',
    async generateBundle() {
      this.emitFile({ type: 'asset', fileName: 'verify.html', source: await makeVerifyPage() });
    },
  };
}

export async function makeVerifyPage(): Promise<string> {
  const built = await build({
    configFile: false,
    root: here,
    logLevel: 'silent',
    build: {
      write: false,
      minify: true,
      target: 'es2022',
      lib: { entry: join(here, 'page.ts'), formats: ['iife'], name: 'verifyPage', fileName: 'page' },
    },
  });
  const [output] = (Array.isArray(built) ? built : [built]) as Rolldown.RolldownOutput[];
  const code = output!.output[0].code.trim();
  if (code.includes('</script')) throw new Error('the script would end inside itself');
  const [template, style] = await Promise.all(
    ['template.html', 'style.css'].map((name) => readFile(join(here, name), 'utf8')),
  );
  const hash = createHash('sha256').update(code).digest('base64');
  const policy = `default-src 'none'; script-src 'sha256-${hash}'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'`;
  // Replacements are functions: the code may hold what replace would take for a pattern.
  return template!
    .replace('%POLICY%', () => policy)
    .replace('/*STYLE*/', () => style!.trimEnd())
    .replace('/*SCRIPT*/', () => code);
}
