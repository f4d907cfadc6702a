// A real mosquitto on a free loopback port, for tests: start, kill, start again on the same port.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface MosquittoOptions {
  /** Lines added to mosquitto.conf. */
  readonly settings?: readonly string[];
  /** Where given, anonymous access is off. */
  readonly login?: { username: string; password: string };
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function listening(port: number, child: ChildProcess): Promise<void> {
  while (child.exitCode === null) {
    const socket = connect(port, '127.0.0.1');
    const answer = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (answer) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`mosquitto ended with ${child.exitCode}`);
}

export class Mosquitto {
  readonly port: number;
  readonly url: string;
  readonly #directory: string;
  #child: ChildProcess | null = null;

  private constructor(port: number, directory: string) {
    this.port = port;
    this.url = `mqtt://127.0.0.1:${port}`;
    this.#directory = directory;
  }

  static async start(options: MosquittoOptions = {}): Promise<Mosquitto> {
    const port = await freePort();
    const directory = mkdtempSync(join(tmpdir(), 'tidemark-mosquitto-'));
    const passwords = join(directory, 'passwords');
    const lines = [
      `listener ${port} 127.0.0.1`,
      'persistence false',
      // The subscriber that checks what arrived must not be the one that loses it.
      'max_queued_messages 0',
      'max_inflight_messages 0',
      'log_type none',
      ...(options.settings ?? []),
    ];
    if (options.login) {
      const { username, password } = options.login;
      const file = spawn('mosquitto_passwd', ['-b', '-c', passwords, username, password]);
      await once(file, 'exit');
      lines.push('allow_anonymous false', `password_file ${passwords}`);
    } else lines.push('allow_anonymous true');
    if (process.getuid?.() === 0) lines.push('user root');
    writeFileSync(join(directory, 'mosquitto.conf'), `${lines.join('\n')}\n`);
    const broker = new Mosquitto(port, directory);
    await broker.restart();
    return broker;
  }

  async restart(): Promise<void> {
    const child = spawn('/usr/sbin/mosquitto', ['-c', join(this.#directory, 'mosquitto.conf')], {
      stdio: 'ignore',
    });
    this.#child = child;
    await listening(this.port, child);
  }

  /** kill -9: what it held is gone, connections end without a word. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await gone;
  }

  /** Stops answering without closing anything, until resume(). */
  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
