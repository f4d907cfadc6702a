// Environment overrides: TIDEMARK_<SECTION>_<KEY> sets one value of the configuration, e.g. TIDEMARK_MQTT_PORT.
// The variables are derived from the schema, so that a misspelt one is refused instead of ignored.
import { parse } from 'yaml';
import { z } from 'zod';
import type { ConfigProblem } from './load.ts';
import { nearest } from './suggest.ts';

const PREFIX = 'TIDEMARK_';
/** Not configuration: which file to read, and what the commands show to a gateway elsewhere. */
const OTHERS = new Set(['TIDEMARK_CONFIG', 'TIDEMARK_TOKEN']);

export interface EnvironmentSource {
  readonly tree: Record<string, unknown>;
  /** Dotted config path → the variable that set it. */
  readonly variables: ReadonlyMap<string, string>;
  readonly problems: readonly ConfigProblem[];
  /** The keys the schema knows below a path. */
  keysAt(path: readonly PropertyKey[]): string[];
}

/** Every variable of the schema with the path it sets. */
export function environmentNames(schema: z.ZodType): Map<string, string[]> {
  const names = new Map<string, string[]>();
  const visit = (node: z.ZodType, path: string[]) => {
    const shape = shapeOf(node);
    if (shape === null) {
      names.set(PREFIX + path.map(snake).join('_'), path);
      return;
    }
    for (const [key, child] of Object.entries(shape)) visit(child, [...path, key]);
  };
  visit(schema, []);
  return names;
}

export function applyEnvironment(
  schema: z.ZodType,
  tree: Record<string, unknown>,
  environment: NodeJS.ProcessEnv,
): EnvironmentSource {
  const names = environmentNames(schema);
  const copy = structuredClone(tree);
  const variables = new Map<string, string>();
  const problems: ConfigProblem[] = [];
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith(PREFIX) || OTHERS.has(name) || text === undefined) continue;
    const path = names.get(name);
    if (!path) {
      const guess = nearest(name, [...names.keys()]);
      problems.push({
        line: null,
        column: null,
        field: name,
        message: `no such setting${guess ? `, did you mean ${guess}?` : ''}`,
      });
      continue;
    }
    variables.set(path.join('.'), name);
    assign(copy, path, scalarOf(text));
  }
  return {
    tree: copy,
    variables,
    problems,
    keysAt: (path) => {
      let node: z.ZodType | null = schema;
      for (const part of path) node = node === null ? null : childOf(node, String(part));
      return node === null ? [] : Object.keys(shapeOf(node) ?? {});
    },
  };
}

function scalarOf(text: string): unknown {
  try {
    return parse(text);
  } catch {
    return text;
  }
}

function assign(tree: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let node = tree;
  for (const part of path.slice(0, -1)) {
    const child = node[part];
    const next =
      typeof child === 'object' && child !== null && !Array.isArray(child)
        ? (child as Record<string, unknown>)
        : {};
    node[part] = next;
    node = next;
  }
  node[path.at(-1)!] = value;
}

function unwrap(schema: z.ZodType): z.ZodType {
  let node = schema;
  while (
    node instanceof z.ZodPrefault ||
    node instanceof z.ZodDefault ||
    node instanceof z.ZodOptional ||
    node instanceof z.ZodNullable
  ) {
    node = node.unwrap() as z.ZodType;
  }
  return node;
}

function shapeOf(schema: z.ZodType): Record<string, z.ZodType> | null {
  const node = unwrap(schema);
  return node instanceof z.ZodObject ? (node.shape as Record<string, z.ZodType>) : null;
}

function childOf(schema: z.ZodType, key: string): z.ZodType | null {
  const node = unwrap(schema);
  if (node instanceof z.ZodArray) return node.element as z.ZodType;
  return shapeOf(node)?.[key] ?? null;
}

const snake = (key: string) => key.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase();
