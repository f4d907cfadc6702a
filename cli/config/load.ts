// Finds, reads and checks the configuration: one YAML file, then environment overrides, then the schema.
// Every complaint names file, line and field (or the variable). Reads files; changes nothing.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Document, isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import { CommandError, EXIT } from '../errors.ts';
import { applyEnvironment, type EnvironmentSource } from './environment.ts';
import { type GatewayConfig, gatewayConfig } from './schema.ts';
import { withSchemaFiles } from './schema-files.ts';
import { nearest } from './suggest.ts';

/** Searched in this order when no file is named. */
export const SEARCH_PATHS = ['tidemark.yaml', '/etc/tidemark/tidemark.yaml'];

const FILE_MAX_BYTES = 1024 * 1024;

export interface ConfigProblem {
  /** Where it is not the configuration file itself. */
  file?: string;
  /** 1-based; null where the problem is not in the file (a default, the environment). */
  line: number | null;
  column: number | null;
  /** Dotted path of the field, '' for the whole file. */
  field: string;
  message: string;
}

export class ConfigError extends CommandError {
  override name = 'ConfigError';
  readonly file: string | null;
  readonly problems: readonly ConfigProblem[];

  constructor(file: string | null, problems: readonly ConfigProblem[]) {
    const lines = problems.map((problem) => {
      const place =
        problem.line === null
          ? (file ?? 'configuration')
          : `${problem.file ?? file}:${problem.line}:${problem.column}`;
      return `${place}: ${problem.field ? `${problem.field}: ` : ''}${problem.message}`;
    });
    super(EXIT.usage, lines.join('\n'), {
      hint: '`tidemark config schema` lists every key, `tidemark config show` what is in force',
    });
    this.file = file;
    this.problems = problems;
  }
}

export interface LoadedConfig {
  readonly config: GatewayConfig;
  /** The file that was read, or null when defaults alone are in force. */
  readonly file: string | null;
  /** Environment variables that had a say. */
  readonly overriddenBy: readonly string[];
}

/**
 * @param named the file given with --config; it must exist then
 * @throws ConfigError naming each line at fault
 */
export function loadConfig(named: string | undefined, environment: NodeJS.ProcessEnv): LoadedConfig {
  const file = findFile(named ?? environment.TIDEMARK_CONFIG);
  const lines = new LineCounter();
  const document = file === null ? null : parseFile(file, lines);
  const tree: unknown = document?.toJS() ?? {};
  if (typeof tree !== 'object' || tree === null || Array.isArray(tree)) {
    throw new ConfigError(file, [
      {
        line: 1,
        column: 1,
        field: '',
        message: 'the file must be a map of sections, e.g. `mqtt:` with keys below it',
      },
    ]);
  }
  const environmentSource = applyEnvironment(gatewayConfig, tree as Record<string, unknown>, environment);
  if (environmentSource.problems.length > 0) throw new ConfigError(null, environmentSource.problems);

  const files = withSchemaFiles(
    environmentSource.tree,
    file === null ? process.cwd() : dirname(resolve(file)),
  );
  if (files.problems.length > 0) throw new ConfigError(file, files.problems);
  const result = gatewayConfig.safeParse(files.tree);
  if (!result.success) {
    throw new ConfigError(
      file,
      result.error.issues.flatMap((issue) => describe(issue, document, lines, environmentSource)),
    );
  }
  // A relative data directory means: beside the file that names it; without a file, below the working folder.
  const base =
    file !== null &&
    typeof (tree as { dataDir?: unknown }).dataDir === 'string' &&
    !environmentSource.variables.has('dataDir')
      ? dirname(resolve(file))
      : process.cwd();
  const config = { ...result.data, dataDir: resolve(base, result.data.dataDir) };
  resolveFiles(config, file === null ? process.cwd() : dirname(resolve(file)));
  return { config, file, overriddenBy: [...environmentSource.variables.values()] };
}

const TLS_FILES = ['cert', 'key', 'ca'] as const;

/** Files that the configuration names are beside the one that names them. */
function resolveFiles({ mqtt, http, access, ledger }: GatewayConfig, base: string): void {
  if (ledger.policy !== undefined) ledger.policy = resolve(base, ledger.policy);
  if (ledger.cosign.ca !== undefined) ledger.cosign.ca = resolve(base, ledger.cosign.ca);
  for (const key of TLS_FILES) {
    for (const tls of [mqtt.tls, http.tls]) {
      const named = tls?.[key];
      if (tls && named !== undefined) tls[key] = resolve(base, named);
    }
  }
  for (const issuer of access.jwt) {
    if (issuer.jwksFile !== undefined) issuer.jwksFile = resolve(base, issuer.jwksFile);
  }
}

function findFile(named: string | undefined): string | null {
  if (named !== undefined) {
    if (!existsSync(named))
      throw new CommandError(EXIT.usage, `there is no configuration file ${named}`, {
        hint: '`tidemark config show > FILE` writes a complete one to start from',
      });
    return named;
  }
  return SEARCH_PATHS.find((path) => existsSync(path)) ?? null;
}

function parseFile(file: string, lines: LineCounter): Document {
  let text: string;
  try {
    const bytes = readFileSync(file);
    if (bytes.length > FILE_MAX_BYTES)
      throw new CommandError(EXIT.usage, `${file} is larger than ${FILE_MAX_BYTES} bytes`);
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(EXIT.usage, `${file} can't be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    throw new ConfigError(
      file,
      document.errors.map((error) => {
        const { line, col } = lines.linePos(error.pos[0]);
        return { line, column: col, field: '', message: error.message };
      }),
    );
  }
  return document;
}

type SchemaIssue = { code: string; path: PropertyKey[]; message: string; keys?: string[] };

function describe(
  issue: SchemaIssue,
  document: Document | null,
  lines: LineCounter,
  environment: EnvironmentSource,
): ConfigProblem[] {
  if (issue.code === 'unrecognized_keys' && issue.keys) {
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      const guess = nearest(key, environment.keysAt(issue.path));
      return {
        ...locate(path, document, lines),
        field: dotted(path),
        message: `unknown key${guess ? `, did you mean \`${guess}\`?` : ''}`,
      };
    });
  }
  const variable = environment.variables.get(dotted(issue.path));
  if (variable !== undefined) return [{ line: null, column: null, field: variable, message: issue.message }];
  return [{ ...locate(issue.path, document, lines), field: dotted(issue.path), message: issue.message }];
}

const dotted = (path: readonly PropertyKey[]) => path.map(String).join('.');

/** Line of the deepest node of `path` that stands in the file; of its key where it has one. */
function locate(
  path: readonly PropertyKey[],
  document: Document | null,
  lines: LineCounter,
): { line: number | null; column: number | null } {
  let position: number | null = null;
  let node: unknown = document?.contents ?? null;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part));
      if (!pair) break;
      position = (pair.key as Node).range?.[0] ?? position;
      node = pair.value;
    } else {
      const child = (node as { items?: unknown[] } | null)?.items?.[Number(part)];
      if (child === undefined) break;
      node = child;
      position = (child as Node).range?.[0] ?? position;
    }
  }
  if (position === null) return { line: null, column: null };
  const { line, col } = lines.linePos(position);
  return { line, column: col };
}
