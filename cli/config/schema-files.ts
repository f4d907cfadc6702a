// JSON Schemas of `ingest.schemas` that stand in files of their own: read, with the files they refer to, into one schema, so
// that a reload sees what has changed in them. Files of one folder; nothing is fetched. Every complaint names file and line.
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { type Document, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { schemaProblem, schemaTextProblem } from '../../gateway/admission/schemas.ts';
import type { ConfigProblem } from './load.ts';

const FILE_MAX_BYTES = 1024 * 1024;
const FILES_MAX = 64;
/** Stands for the folder in which the first file is; nobody answers there. */
const FOLDER = 'https://schemas.invalid/';

type JsonSchema = Record<string, unknown>;
type Path = readonly (string | number)[];

class SchemaFileError extends Error {
  readonly problem: ConfigProblem;
  constructor(problem: ConfigProblem) {
    super(problem.message);
    this.problem = problem;
  }
}

interface SchemaFile {
  readonly path: string;
  readonly document: Document;
  readonly lines: LineCounter;
  readonly schema: JsonSchema;
}

/** `tree` with the contents of files in the place of their names; problems, where they cannot be used. */
export function withSchemaFiles(
  tree: Record<string, unknown>,
  base: string,
): { tree: Record<string, unknown>; problems: ConfigProblem[] } {
  const ingest = tree.ingest as { schemas?: unknown } | undefined;
  const rules = ingest?.schemas;
  const problems: ConfigProblem[] = [];
  if (!Array.isArray(rules)) return { tree, problems };
  const schemas = rules.map((rule: unknown, at) => {
    if (typeof rule !== 'object' || rule === null || !('file' in rule)) return rule;
    // What else is wrong with it, the configuration's own schema says.
    if (typeof rule.file !== 'string') return rule;
    if ('schema' in rule) {
      const field = `ingest.schemas.${at}`;
      problems.push({ line: null, column: null, field, message: 'give schema or file, not both' });
      return rule;
    }
    try {
      return { ...rule, schema: bundle(resolve(base, rule.file)) };
    } catch (error) {
      if (!(error instanceof SchemaFileError)) throw error;
      problems.push(error.problem);
      return rule;
    }
  });
  return { tree: { ...tree, ingest: { ...ingest, schemas } }, problems };
}

function bundle(first: string): JsonSchema {
  const folder = dirname(first);
  const files = new Map<string, SchemaFile>();
  const waiting = [first];
  for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) {
    if (files.has(path)) continue;
    const file = readSchemaFile(path);
    if (files.size === FILES_MAX) throw fault(file, [], `is one of more than ${FILES_MAX} files`);
    files.set(path, file);
    const problem = schemaTextProblem(file.schema);
    if (problem) throw fault(file, problem.path, problem.message);
    for (const [ref, at] of refsIn(file.schema, [])) {
      const named = ref.split('#')[0]!;
      if (named === '' || /^[a-z][a-z0-9+.-]*:/i.test(named)) continue;
      const plain = decoded(named);
      if (plain === null) throw fault(file, at, `refers to ${ref}, which is not percent-encoded UTF-8`);
      const other = resolve(dirname(path), plain);
      if (!isInside(folder, other)) throw fault(file, at, `refers to ${ref}, which is not in ${folder}`);
      if (!files.has(other)) {
        exists(file, at, other);
        waiting.push(other);
      }
    }
  }
  const [main, ...others] = [...files.values()];
  const idOf = ({ path }: SchemaFile) =>
    FOLDER + relative(folder, path).split(sep).map(encodeURIComponent).join('/');
  const withId = (file: SchemaFile) => ({ ...file.schema, $id: idOf(file) });
  const inner = Object.fromEntries(others.map((file) => [idOf(file), withId(file)]));
  // Alone it stays as it was written.
  const schema =
    others.length === 0
      ? main!.schema
      : { ...withId(main!), $defs: { ...(main!.schema.$defs as object | undefined), ...inner } };
  const problem = schemaProblem(schema);
  if (problem) throw fault(main!, [], problem.message);
  return schema;
}

function readSchemaFile(path: string): SchemaFile {
  const at: At = (line, column, message) =>
    new SchemaFileError({ file: path, line, column, field: '', message });
  let text: string;
  try {
    const found = statSync(path);
    // A pipe or a device may have no end.
    if (!found.isFile()) throw new Error('is not a file');
    if (found.size > FILE_MAX_BYTES) throw new Error(`is larger than ${FILE_MAX_BYTES} bytes`);
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    throw at(1, 1, `the schema cannot be read: ${(error as Error).message}`);
  }
  try {
    return parsed(path, text, at);
  } catch (error) {
    if (error instanceof SchemaFileError) throw error;
    // Aliases without end, or nesting deeper than the stack.
    throw at(1, 1, `the schema cannot be read: ${(error as Error).message}`);
  }
}

type At = (line: number, column: number, message: string) => SchemaFileError;

function parsed(path: string, text: string, at: At): SchemaFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (error) {
    const { line, col } = lines.linePos(error.pos[0]);
    throw at(line, col, error.message);
  }
  const schema: unknown = document.toJS();
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema))
    throw at(1, 1, 'must be a JSON Schema: an object');
  // What has no end, or none that the stack reaches, is no JSON.
  JSON.stringify(schema);
  return { path, document, lines, schema: schema as JsonSchema };
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function exists(file: SchemaFile, at: Path, other: string): void {
  try {
    realpathSync(other);
  } catch {
    throw fault(file, at, `refers to ${other}, which is not there`);
  }
}

function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '' && !way.startsWith('..') && join(folder, way) === path;
}

/** Every `$ref` with where it stands. */
function* refsIn(value: unknown, at: Path): Generator<[ref: string, at: Path]> {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, child] of Object.entries(value)) {
    if (key === '$ref' && typeof child === 'string') yield [child, [...at, key]];
    else yield* refsIn(child, [...at, Array.isArray(value) ? Number(key) : key]);
  }
}

function fault({ path: file, document, lines }: SchemaFile, at: Path, message: string): SchemaFileError {
  const position = positionOf(document, at);
  const { line, col } = lines.linePos(position);
  return new SchemaFileError({ file, line, column: col, field: at.join('.'), message });
}

/** Of the deepest part of the path that is there. */
function positionOf(document: Document, at: Path): number {
  let node: unknown = document.contents;
  let position = 0;
  for (const part of at) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      if (!pair) break;
      position = (pair.key as Node).range?.[0] ?? position;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      position = (node as Node | undefined)?.range?.[0] ?? position;
    } else break;
  }
  return position;
}
