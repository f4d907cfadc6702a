// The table of commands, in the order of the help. Each entry is only words, in table/ by area; the work is loaded from
// commands/ when it runs.
import type { CommandSpec } from './command.ts';
import { ACCESS_COMMANDS } from './table/access.ts';
import { AUTHORITY_COMMANDS } from './table/authority.ts';
import { CONFIG_COMMANDS } from './table/config.ts';
import { GATEWAY_COMMANDS } from './table/gateway.ts';
import { PROOF_COMMANDS } from './table/proofs.ts';
import { SIM_COMMANDS } from './table/sim.ts';

export const GROUPS: readonly { readonly title: string; readonly commands: readonly CommandSpec[] }[] = [
  { title: 'the gateway and its data directory', commands: GATEWAY_COMMANDS },
  { title: 'proofs and audits', commands: PROOF_COMMANDS },
  { title: 'configuration', commands: CONFIG_COMMANDS },
  { title: 'who may do what', commands: ACCESS_COMMANDS },
  { title: 'keys, authorities and policies', commands: AUTHORITY_COMMANDS },
  { title: 'simulated fleets', commands: SIM_COMMANDS },
];

export const COMMANDS: readonly CommandSpec[] = GROUPS.flatMap((group) => group.commands);
