// The configuration reference, generated from the schema: as text for people, as JSON Schema for editors.
import { z } from 'zod';
import { environmentNames } from './environment.ts';
import { gatewayConfig } from './schema.ts';

interface SchemaNode {
  type?: string | string[];
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  minimum?: number;
  maximum?: number;
  properties?: Record<string, SchemaNode>;
  items?: SchemaNode;
  anyOf?: SchemaNode[];
}

export function configJsonSchema(): unknown {
  return z.toJSONSchema(gatewayConfig, { io: 'input', unrepresentable: 'any' });
}

/** One key a line below its section, with type, default, meaning and environment variable. */
export function configReference(): string {
  const variables = new Map(
    [...environmentNames(gatewayConfig)].map(([name, path]) => [path.join('.'), name]),
  );
  const lines: string[] = [];
  const visit = (node: SchemaNode, path: string[]) => {
    for (const [key, child] of Object.entries(node.properties ?? {})) {
      const here = [...path, key];
      if (child.properties) {
        lines.push('', `${here.join('.')}${child.description ? `: ${child.description}` : ''}`);
        visit(child, here);
      } else {
        lines.push(
          `  ${here.join('.')} (${typeOf(child)}${child.default === undefined ? '' : `, default ${JSON.stringify(child.default)}`})`,
        );
        if (child.description) lines.push(`      ${child.description}`);
        const variable = variables.get(here.join('.'));
        if (variable) lines.push(`      ${variable}`);
        if (child.items?.properties) visit(child.items, [...path, `${key}[]`]);
      }
    }
  };
  visit(configJsonSchema() as SchemaNode, []);
  return `${lines.join('\n').trim()}\n`;
}

function typeOf(node: SchemaNode): string {
  if (node.enum) return node.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (node.const !== undefined) return JSON.stringify(node.const);
  if (node.anyOf) return node.anyOf.map(typeOf).join(' | ');
  if (node.type === 'array') return `list of ${node.items ? typeOf(node.items) : 'values'}`;
  const bounds =
    node.minimum === undefined && node.maximum === undefined
      ? ''
      : ` ${node.minimum ?? ''}..${node.maximum !== undefined && node.maximum < Number.MAX_SAFE_INTEGER ? node.maximum : ''}`;
  return `${Array.isArray(node.type) ? node.type.join(' | ') : (node.type ?? 'any')}${bounds}`;
}
