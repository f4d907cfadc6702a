// The version in package.json, which stands one level above the sources and two above the built files.
import { readFileSync } from 'node:fs';

const manifest = new URL(
  import.meta.url.endsWith('.ts') ? '../package.json' : '../../package.json',
  import.meta.url,
);
export const VERSION: string = (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
