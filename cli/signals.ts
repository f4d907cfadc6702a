// Owns the signals of a process that runs until it is told to stop, from its first moment on: one that comes while it is
// still starting is kept until it can be obeyed, and does not end it out of order. Knows nothing of what they lead to.

export class Signals {
  /** The first SIGTERM or SIGINT, once one has come. */
  readonly stop: Promise<NodeJS.Signals>;
  #reload: (() => void) | null = null;
  #reloadAsked = false;

  constructor() {
    this.stop = new Promise((resolve) => {
      process.once('SIGTERM', resolve);
      process.once('SIGINT', resolve);
    });
    process.on('SIGHUP', () => {
      if (this.#reload) this.#reload();
      else this.#reloadAsked = true;
    });
  }

  /** Calls `reload` on each SIGHUP; once at once, where one has come already. */
  onReload(reload: () => void): void {
    this.#reload = reload;
    if (this.#reloadAsked) reload();
  }
}
