// A real `tidemark authority` in a process of its own, with a folder, a port and a key.
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ended, freePort, ROOT, tidemark, untilListening } from './processes.ts';

const BIN = join(ROOT, 'bin', 'tidemark.ts');

export interface Serves {
  /** Verifier key of the gateway. */
  readonly key: string;
  readonly mirror: string | null;
}

export class AuthorityProcess {
  readonly name: string;
  readonly config: string;
  readonly port: number;
  readonly key: string;
  child: ChildProcess | null = null;

  /** Not running yet; its key is there. */
  static async make(folder: string, name: string, gateways: readonly Serves[]): Promise<AuthorityProcess> {
    const port = await freePort();
    const served = gateways.map(
      ({ key, mirror }) => `  - keys: ['${key}']\n${mirror === null ? '' : `    mirror: ${mirror}\n`}`,
    );
    const config = join(folder, `${name}.yaml`);
    writeFileSync(
      config,
      `name: ${name}.example.com\ndataDir: ${name}\nport: ${port}\ngateways:\n${served.join('')}`,
    );
    const { stdout } = await tidemark(['authority', 'key', '-c', config]);
    return new AuthorityProcess(folder, name, port, stdout.trim());
  }

  private constructor(folder: string, name: string, port: number, key: string) {
    this.name = name;
    this.port = port;
    this.key = key;
    this.config = join(folder, `${name}.yaml`);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, [BIN, 'authority', '-c', this.config], { stdio: 'ignore' });
    this.child = child;
    await untilListening(this.port, child);
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (!this.child) return;
    this.child.kill('SIGCONT');
    this.child.kill(signal);
    await ended(this.child);
    this.child = null;
  }
}
