// Three real authorities for the gateway under chaos, two of which make a checkpoint final: processes that can be killed or
// stopped, and are started again.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gatewayVerifierKey, loadOrCreateGatewayKey } from '../../ledger/seal/key.ts';
import { ended, freePort, ROOT, tidemark, untilListening } from '../support/processes.ts';

const NAMES = ['operator', 'regulator', 'vendor'] as const;

interface Authority {
  readonly config: string;
  readonly port: number;
  readonly line: string;
  child: ChildProcess;
}

export class ChaosAuthorities {
  readonly policyFile: string;
  readonly #all: readonly Authority[];

  private constructor(policyFile: string, all: readonly Authority[]) {
    this.policyFile = policyFile;
    this.#all = all;
  }

  /** For the gateway of this origin and data directory, whose key is made where there is none. */
  static async start(folder: string, origin: string, dataDir: string): Promise<ChaosAuthorities> {
    const gatewayKey = gatewayVerifierKey(origin, loadOrCreateGatewayKey(dataDir));
    mkdirSync(join(folder, 'authorities'));
    const all: Authority[] = [];
    for (const name of NAMES) {
      const port = await freePort();
      const config = join(folder, 'authorities', `${name}.yaml`);
      writeFileSync(
        config,
        `name: ${name}.example.com\ndataDir: ${name}\nport: ${port}\ngateways:\n  - keys: ['${gatewayKey}']\n`,
      );
      const { stdout } = await tidemark(['authority', 'key', '-c', config]);
      const line = `witness ${name} ${stdout.trim()} http://127.0.0.1:${port}\n`;
      all.push({ config, port, line, child: await started(config, port) });
    }
    const policyFile = join(folder, 'policy.txt');
    writeFileSync(
      policyFile,
      `log ${gatewayKey}\n${all.map(({ line }) => line).join('')}group any-two 2 ${NAMES.join(' ')}\nquorum any-two\n`,
    );
    return new ChaosAuthorities(policyFile, all);
  }

  get count(): number {
    return this.#all.length;
  }

  signal(index: number, signal: NodeJS.Signals): void {
    this.#all[index]!.child.kill(signal);
  }

  /** Starts it again when it has ended. */
  async revive(index: number): Promise<void> {
    const authority = this.#all[index]!;
    if (authority.child.exitCode === null && authority.child.signalCode === null) return;
    authority.child = await started(authority.config, authority.port);
  }

  async stop(): Promise<void> {
    for (const { child } of this.#all) {
      child.kill('SIGCONT');
      child.kill('SIGTERM');
      await ended(child);
    }
  }
}

async function started(config: string, port: number): Promise<ChildProcess> {
  const bin = join(ROOT, 'bin', 'tidemark.ts');
  const child = spawn(process.execPath, [bin, 'authority', '-c', config], { stdio: 'ignore' });
  await untilListening(port, child);
  return child;
}
