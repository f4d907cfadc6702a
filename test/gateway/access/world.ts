// Access over a real access.db in a temporary folder, with acts kept in a list instead of a log.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Act } from '../../../gateway/access/acts.ts';
import { Administration } from '../../../gateway/access/administration.ts';
import { type AccessConfig, accessConfigSchema } from '../../../gateway/access/config.ts';
import { AccessControl } from '../../../gateway/access/control.ts';
import { AccessStore } from '../../../gateway/access/store.ts';
import type { AccessVerdict, Credentials, Principal } from '../../../gateway/access/types.ts';

export class World {
  readonly folder = mkdtempSync(join(tmpdir(), 'tidemark-access-'));
  readonly acts: Act[] = [];
  /** Names the listeners were told. */
  readonly told: string[] = [];
  readonly config: AccessConfig;
  store: AccessStore;
  access: AccessControl;
  admin: Administration;
  nowMs = Date.UTC(2026, 0, 1);
  /** Set: acts can't be recorded. */
  logError: Error | null = null;

  constructor(config: object = {}) {
    this.config = accessConfigSchema.parse(config);
    this.store = new AccessStore(this.folder);
    this.access = this.#newAccess();
    this.admin = this.#newAdministration();
  }

  #newAccess(): AccessControl {
    const access = new AccessControl({ config: this.config, store: this.store, clock: () => this.nowMs });
    access.onChange((name) => this.told.push(name));
    return access;
  }

  #newAdministration(): Administration {
    return new Administration({
      store: this.store,
      access: this.access,
      config: () => this.config,
      clock: () => this.nowMs,
      record: async (acts) => {
        if (this.logError) throw this.logError;
        this.acts.push(...acts);
      },
    });
  }

  /** As after a restart: nothing is remembered but what is in the file. */
  reopen(onDamage?: (what: string) => void): void {
    this.store.close();
    this.store = new AccessStore(this.folder, onDamage);
    this.access = this.#newAccess();
    this.admin = this.#newAdministration();
  }

  ask(credentials: Partial<Credentials> & { secret?: string }): Promise<AccessVerdict> | AccessVerdict {
    const { secret, ...rest } = credentials;
    const password = secret === undefined ? {} : { password: Buffer.from(secret) };
    return this.access.authenticate({ address: '192.0.2.1', ...rest, ...password });
  }

  async principal(credentials: Partial<Credentials> & { secret?: string }): Promise<Principal> {
    const verdict = await this.ask(credentials);
    if (verdict.principal === null) throw new Error(`refused: ${verdict.code}`);
    return verdict.principal;
  }

  async code(credentials: Partial<Credentials> & { secret?: string }): Promise<string> {
    const verdict = await this.ask(credentials);
    return verdict.principal === null ? verdict.code : `let in as ${verdict.principal.name}`;
  }

  close(): void {
    this.access.close();
    this.store.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
