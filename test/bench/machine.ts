// What the benchmarks print about the machine, its load and the versions, and how they summarise rounds.
import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..', '..');

export function machine(): string {
  const model = cpus()[0]?.model ?? 'unknown processor';
  const kernel = readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();
  return `${cpus().length} × ${model}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${kernel}, Node ${process.versions.node}`;
}

export function versionOf(command: string, args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8' }).trim().split('\n')[0]!;
  } catch (error) {
    const out = (error as { stdout?: string }).stdout;
    return out?.trim().split('\n')[0] ?? `${command} (version unknown)`;
  }
}

/** File system type and device a folder is on, as the system names them. */
export function mountOf(folder: string): { type: string; device: string } {
  const path = realpathSync(folder);
  let best = { point: '', type: 'unknown', device: 'unknown' };
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [device = '', point = '', type = ''] = line.split(' ');
    const holds = path === point || path.startsWith(point.endsWith('/') ? point : `${point}/`);
    if (holds && point.length >= best.point.length) best = { point, type, device };
  }
  return { type: best.type, device: best.device };
}

/** What stands above every table: whose figures these are, and whether the machine was busy with something else. */
export function preamble(folder?: string): string {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const commit = versionOf('git', ['-C', ROOT, 'describe', '--always', '--dirty']);
  const lines = [`machine: ${machine()}`, `tidemark ${version}, commit ${commit}`];
  if (folder !== undefined) {
    const { type, device } = mountOf(folder);
    lines.push(`disk: ${type} on ${device}`);
  }
  const [minute = 0] = loadavg();
  lines.push(`load of the minute before: ${minute.toFixed(1)} (more than 0.2 or so: other work ran)`);
  return `${lines.join('\n')}\n`;
}

export interface Summary {
  median: number;
  min: number;
  max: number;
}

export function summarise(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

const thousands = (value: number) =>
  value >= 10_000
    ? `${Math.round(value / 1000)}k`
    : value >= 1000
      ? `${(value / 1000).toFixed(1)}k`
      : value.toFixed(0);

/** "212k (198k–230k)" */
export const spread = (values: readonly number[]): string => {
  const { median, min, max } = summarise(values);
  return `${thousands(median)} (${thousands(min)}–${thousands(max)})`;
};
