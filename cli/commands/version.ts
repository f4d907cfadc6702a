// `tidemark version`
import type { Invocation } from '../command.ts';
import { EXIT, type ExitCode } from '../errors.ts';
import { VERSION } from '../version.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const facts = {
    tidemark: VERSION,
    node: process.versions.node,
    platform: process.platform,
    arch: process.arch,
  };
  process.stdout.write(
    invocation.flag('json')
      ? `${JSON.stringify(facts)}\n`
      : `tidemark ${facts.tidemark} (Node ${facts.node}, ${facts.platform} ${facts.arch})\n`,
  );
  return EXIT.ok;
}
