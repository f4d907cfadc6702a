// A TCP proxy on loopback between clients and a server: cuts connections, refuses new ones, holds bytes back. Changes no byte.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class TcpProxy {
  readonly #server: Server;
  readonly #targetPort: () => number;
  readonly #sockets = new Set<Socket>();
  #refuses = false;
  #delayMs = 0;

  private constructor(targetPort: () => number) {
    this.#targetPort = targetPort;
    this.#server = createServer({ noDelay: true }, (client) => this.#onClient(client));
  }

  /** Listens on a free port; `targetPort` is asked for each connection. */
  static async open(targetPort: () => number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Ends every connection in the middle of whatever it carries, and refuses new ones until `mend`. */
  cut(): void {
    this.#refuses = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  mend(): void {
    this.#refuses = false;
  }

  /** From now on what arrives is passed on so much later, in order. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  async close(): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, 'close');
  }

  #onClient(client: Socket): void {
    if (this.#refuses) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect({ port: this.#targetPort(), host: '127.0.0.1', noDelay: true });
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      this.#pass(from, to);
    }
  }

  #pass(from: Socket, to: Socket): void {
    let last = Promise.resolve();
    const hand = (work: () => void) => {
      const dueMs = performance.now() + this.#delayMs;
      if (this.#delayMs === 0) {
        // Behind whatever is still held back.
        last = last.then(work);
      } else
        last = last
          .then(() => new Promise((next) => setTimeout(next, Math.max(0, dueMs - performance.now()))))
          .then(work);
    };
    from.on('data', (data) =>
      hand(() => {
        if (to.destroyed) return;
        if (!to.write(data)) {
          from.pause();
          to.once('drain', () => from.resume());
        }
      }),
    );
    from.on('end', () => hand(() => to.end()));
  }
}
