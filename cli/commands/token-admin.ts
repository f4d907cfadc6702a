// `tidemark token admin --reset`: a new admin token in place of a lost one; every earlier one ends at once.
import { administer } from '../administer.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { showIssued } from '../issued.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  if (!invocation.flag('reset'))
    throw new CommandError(EXIT.usage, 'the admin token is kept only as a hash and cannot be shown again', {
      hint: '`tidemark token admin --reset` makes a new one; the old one then ends',
    });
  const issued = await administer(invocation, (by) => by.resetAdmin());
  showIssued(issued, 'reset     admin; earlier tokens have ended', invocation);
  return EXIT.ok;
}
