// The metrics of the ledger and its authorities.
import { gauge, type Metric, type Read } from './metric.ts';

/** One value an authority, from the figures the sealer reports as `authority.<name>.…`. */
function authorities(value: (state: unknown, size: number) => number): Read {
  return ({ status }) => {
    const figures = status.stages.sealer ?? {};
    const names = Object.keys(figures).flatMap((key) => /^authority\.(.+)\.state$/.exec(key)?.[1] ?? []);
    return Object.fromEntries(
      names.map((name) => [
        name,
        value(figures[`authority.${name}.state`], Number(figures[`authority.${name}.size`])),
      ]),
    );
  };
}

export const LEDGER: readonly Metric[] = [
  gauge('ledger_blocks', 'Blocks under the newest signed checkpoint.', ({ status }) => status.ledger.blocks),
  gauge(
    'ledger_sealed_offset',
    'First offset not yet in a signed block.',
    ({ status }) => status.ledger.sealed,
  ),
  gauge(
    'ledger_checkpoint_timestamp_seconds',
    'When the newest signed block was sealed, unix time; 0 for none.',
    ({ status }) => (status.ledger.checkpointMs ?? 0) / 1000,
  ),
  gauge(
    'ledger_final_blocks',
    'Blocks under the newest checkpoint that a quorum of authorities has cosigned; without authorities, all.',
    ({ status }) => status.ledger.finalSize,
  ),
  gauge('ledger_alarm', '1 while the ledger needs a person: rolled back, forked, damaged.', ({ status }) =>
    Number((status.stages.sealer?.alarm ?? null) !== null),
  ),
  gauge(
    'authority_up',
    '1 for an authority that cosigns.',
    authorities((state) => Number(state === 'ok')),
    'authority',
  ),
  gauge(
    'authority_cosigned_blocks',
    'Blocks under the newest checkpoint an authority has cosigned.',
    authorities((_state, size) => size),
    'authority',
  ),
];
