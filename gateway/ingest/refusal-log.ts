// Keeps hostile clients from filling the gateway's own log: so many lines a second about refusals, the rest counted.
import type { IngestLogger } from '../admission/types.ts';

const LINES_PER_SECOND = 10;

export class RefusalLog {
  readonly #logger: IngestLogger;
  #second = 0;
  #lines = 0;
  #suppressed = 0;

  constructor(logger: IngestLogger) {
    this.#logger = logger;
  }

  warn(facts: object, message: string): void {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) {
      if (this.#suppressed > 0) {
        this.#logger.warn({ lines: this.#suppressed }, 'further refusals were not logged one by one');
      }
      this.#second = second;
      this.#lines = 0;
      this.#suppressed = 0;
    }
    if (this.#lines < LINES_PER_SECOND) {
      this.#lines += 1;
      this.#logger.warn(facts, message);
    } else this.#suppressed += 1;
  }
}
