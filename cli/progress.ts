// One line of progress on standard error, rewritten in place; silent where no person is looking.

const EVERY_MS = 200;

export class Progress {
  readonly #quiet: boolean;
  #lastMs = 0;
  #shown = false;

  constructor(quiet: boolean) {
    this.#quiet = quiet || !process.stderr.isTTY;
  }

  show(text: string): void {
    const now = Date.now();
    if (this.#quiet || now - this.#lastMs < EVERY_MS) return;
    this.#lastMs = now;
    this.#shown = true;
    process.stderr.write(`\r\x1b[2K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  }

  end(): void {
    if (this.#shown) process.stderr.write('\r\x1b[2K');
    this.#shown = false;
  }
}
