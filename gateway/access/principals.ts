// Makes principals: what somebody may do, as it stands in the store and the configuration at this moment. One that is
// kept (by a connection) follows changes by itself; who must be closed is told by Access.onChange.
import type { AccessConfig } from './config.ts';
import { Patterns } from './patterns.ts';
import type { PrincipalRow } from './store.ts';
import type { Principal, Right, Role } from './types.ts';

const RIGHTS: Readonly<Record<Role, readonly Right[]>> = {
  device: [],
  operator: ['read', 'prove'],
  auditor: ['read', 'prove'],
  admin: ['read', 'prove', 'administer'],
};

export type GrantedRow = Pick<PrincipalRow, 'name' | 'role' | 'device' | 'publish' | 'subscribe'>;

/** What one name may do. Never changes: a change makes another. */
export class Rights {
  readonly role: Role;
  readonly device: string | null;
  readonly #publish: Patterns | null;
  readonly #subscribe: Patterns | null;

  constructor(row: GrantedRow, roles: AccessConfig['roles']) {
    const { name, role, device } = row;
    const defaults = role === 'admin' ? null : roles[role];
    const publish = row.publish ?? defaults?.publish ?? null;
    const subscribe = row.subscribe ?? defaults?.subscribe ?? null;
    this.role = role;
    this.device = device;
    this.#publish = publish && new Patterns(publish, device ?? name);
    this.#subscribe = subscribe && new Patterns(subscribe, device ?? name);
  }

  mayPublish(topic: string): boolean {
    return this.#publish === null || this.#publish.matches(topic);
  }

  maySubscribe(filter: string): boolean {
    return this.#subscribe === null || this.#subscribe.covers(filter);
  }

  may(right: Right): boolean {
    return RIGHTS[this.role].includes(right);
  }
}

/** Everything that decides about what is heard, and for whom: when it differs, connections are to be judged again. */
export function printOf({ role, device, subscribe }: GrantedRow, roles: AccessConfig['roles']): string {
  return JSON.stringify([role, device, subscribe ?? (role === 'admin' ? null : roles[role].subscribe)]);
}

/** What a principal asks when rights may have changed. */
export interface RightsSource {
  /** Rises with every change. */
  readonly version: number;
  /** Null: it may nothing any more. */
  rightsOf(name: string): Rights | null;
}

export class KnownPrincipal implements Principal {
  readonly name: string;
  readonly role: Role;
  readonly anonymous = false;
  readonly device: string | null;
  readonly expiresMs: number | null;
  readonly #source: RightsSource;
  #rights: Rights | null;
  #version: number;

  constructor(name: string, rights: Rights, expiresMs: number | null, source: RightsSource) {
    this.name = name;
    this.role = rights.role;
    this.device = rights.device;
    this.expiresMs = expiresMs;
    this.#source = source;
    this.#rights = rights;
    this.#version = source.version;
  }

  mayPublish(topic: string): boolean {
    return this.#current()?.mayPublish(topic) ?? false;
  }

  maySubscribe(filter: string): boolean {
    return this.#current()?.maySubscribe(filter) ?? false;
  }

  may(right: Right): boolean {
    return this.#current()?.may(right) ?? false;
  }

  #current(): Rights | null {
    if (this.#version !== this.#source.version) {
      this.#version = this.#source.version;
      this.#rights = this.#rights && this.#source.rightsOf(this.name);
    }
    return this.#rights;
  }
}
