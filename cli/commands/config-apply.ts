// `tidemark config apply`: tells the running gateway to read its configuration again.
import type { Applied } from '../../gateway/api/routes/admin.ts';
import { sendToGateway } from '../administer.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const answer = (await sendToGateway(invocation, 'apply')) as Applied | null;
  if (answer === null)
    throw new CommandError(EXIT.unable, 'no gateway runs in this data directory', {
      hint: 'it reads its configuration when it starts; for one elsewhere give --url and a token',
    });
  const { applied, restart } = answer;
  if (invocation.flag('json')) process.stdout.write(`${JSON.stringify(answer)}\n`);
  else {
    const lines = [
      ...applied.map((key) => `applied   ${key}`),
      ...restart.map((key) => `restart   ${key} counts only after a restart`),
    ];
    process.stdout.write(`${lines.join('\n') || 'nothing has changed'}\n`);
  }
  return EXIT.ok;
}
