// Reads a processor profile as V8 writes it and prints where its time went, by part and by function. Judges nothing.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ROOT } from '../support/processes.ts';

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { functionName: string; url: string; lineNumber: number };
}

/** As V8 writes it; times in µs. */
interface CpuProfile {
  readonly nodes: ProfileNode[];
  readonly samples: number[];
  readonly timeDeltas: number[];
}

const NOT_WORK: ReadonlySet<string> = new Set(['(idle)', '(root)']);

/** Prints the busiest parts and functions of a profile in a file, as Markdown. */
export function printProfile(name: string, file: string, top: number): void {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile;
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const byPlace = new Map<string, number>();
  const byPart = new Map<string, number>();
  let total = 0;
  let idle = 0;
  const add = (map: Map<string, number>, key: string, time: number) =>
    map.set(key, (map.get(key) ?? 0) + time);
  for (const [index, id] of profile.samples.entries()) {
    const time = Math.max(0, profile.timeDeltas[index] ?? 0);
    const node = nodes.get(id)!;
    const { functionName } = node.callFrame;
    if (functionName === '(idle)') idle += time;
    // The sampler's own beginning and end.
    if (NOT_WORK.has(functionName) || node.callFrame.url === 'node:inspector') continue;
    total += time;
    add(byPlace, label(node), time);
    add(byPart, part(node), time);
  }
  console.log(`${name}: busy ${(total / 1e6).toFixed(1)} s, idle ${(idle / 1e6).toFixed(1)} s\n`);
  if (total < 1e6) return;
  table('part', byPart, total, top);
  table('function', byPlace, total, top);
}

function table(of: string, times: ReadonlyMap<string, number>, total: number, top: number): void {
  console.log(`| self time of the busy time | ${of} |`);
  console.log('|---|---|');
  const sorted = [...times].sort((a, b) => b[1] - a[1]);
  for (const [name, time] of sorted.slice(0, top))
    console.log(`| ${((time / total) * 100).toFixed(1)} % | ${name} |`);
  console.log('');
}

/** Which room, package or part of Node a function belongs to; what V8 gives no file for goes by its own name. */
function part({ callFrame: { functionName, url } }: ProfileNode): string {
  if (url === '') return functionName.startsWith('(') ? functionName : `native: ${functionName}`;
  if (url.startsWith('node:')) return `${url.split('/').slice(0, 2).join('/')}`;
  const path = url.startsWith('file:') ? relative(ROOT, fileURLToPath(url)) : relative(ROOT, url);
  const [, package_] = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path) ?? [];
  return package_ ?? path.split('/').slice(0, 2).join('/');
}

function label({ callFrame: { functionName, url, lineNumber } }: ProfileNode): string {
  const name = functionName === '' ? '(anonymous)' : functionName;
  if (url === '') return name;
  const path = url.startsWith('file:') ? relative(ROOT, fileURLToPath(url)) : url;
  return `${name} ${path}:${lineNumber + 1}`;
}
