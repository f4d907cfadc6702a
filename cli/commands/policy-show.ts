// `tidemark policy show`: the policy in force, what its quorum tolerates, and those before it.
import { formatVerifierKey } from '../../ledger/format/note.ts';
import { describePolicy } from '../../ledger/format/policy.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { withDataDir } from '../data-dir.ts';
import { epochsOf } from '../epochs.ts';
import { EXIT, type ExitCode } from '../errors.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const { config } = withDataDir(loadConfig(invocation.text('config'), process.env), invocation);
  const epochs = await epochsOf(config.dataDir);
  const { epoch, policy, height } = epochs.policy;
  const key = formatVerifierKey(epochs.key);
  if (invocation.flag('json')) {
    const keys = epochs.keys.map(({ key: one, from, notAfter }) => ({
      key: formatVerifierKey(one),
      from,
      notAfter: notAfter === Number.MAX_SAFE_INTEGER ? null : notAfter,
    }));
    const policies = epochs.policies.map((one) => ({
      epoch: one.epoch,
      height: one.height,
      text: one.policy?.text ?? '',
    }));
    process.stdout.write(
      `${JSON.stringify({ origin: epochs.origin, epoch, figures: policy?.figures ?? null, keys, policies })}\n`,
    );
    return EXIT.ok;
  }
  process.stdout.write(`origin  ${epochs.origin}\nkey     ${key}\n`);
  if (!policy)
    process.stdout.write(
      'epoch   0: no policy; "final" means signed by this gateway alone, which proves little\n',
    );
  else
    process.stdout.write(
      `epoch   ${epoch}, since block ${height}\n${describePolicy(policy)}\n\n${policy.text}`,
    );
  return EXIT.ok;
}
