// A TCP gate before a real upstream: tests open it, cut it (connections end, new ones are refused) or hold what
// flows back, as a link does.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class Gate {
  readonly #targetPort: number;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #port = 0;
  #held = false;
  /** Bytes that went towards the upstream. */
  bytesUp = 0;

  constructor(targetPort: number) {
    this.#targetPort = targetPort;
  }

  get url(): string {
    return `mqtt://127.0.0.1:${this.#port}`;
  }

  async open(): Promise<void> {
    const server = createServer((near) => {
      const far = connect(this.#targetPort, '127.0.0.1');
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => {
          this.#sockets.delete(socket);
          near.destroy();
          far.destroy();
        });
      }
      near.on('data', (data) => {
        this.bytesUp += data.length;
        far.write(data);
      });
      far.on('data', (data) => {
        if (!this.#held) near.write(data);
      });
    });
    this.#server = server;
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
  }

  /** From here on nothing the upstream says comes back, until the next cut. */
  hold(): void {
    this.#held = true;
  }

  async cut(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    this.#held = false;
    for (const socket of this.#sockets) socket.destroy();
    if (!server) return;
    server.close();
    await once(server, 'close');
  }
}
