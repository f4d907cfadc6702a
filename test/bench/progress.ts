// Says on standard error how far a long step is: on one line of a terminal, and elsewhere only every few seconds.

const EVERY_MS = 5_000;

export class Progress {
  #lastMs = performance.now();

  show(text: string): void {
    const now = performance.now();
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`);
    else if (now - this.#lastMs >= EVERY_MS) {
      this.#lastMs = now;
      process.stderr.write(`${text}\n`);
    }
  }

  end(text: string): void {
    process.stderr.write(process.stderr.isTTY ? `\r\x1b[2K${text}\n` : `${text}\n`);
  }
}
