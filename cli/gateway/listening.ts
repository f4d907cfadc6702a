// Turns a port that cannot be listened on into a sentence for people. Opens none itself.
import { CommandError, EXIT } from '../errors.ts';

export async function listening<T>(
  what: string,
  address: { host: string; port: number },
  listen: () => Promise<T>,
): Promise<T> {
  try {
    return await listen();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const at = `${address.host}:${address.port}`;
    if (code === 'EADDRINUSE') {
      throw new CommandError(EXIT.unable, `${what}: ${at} is taken by another process`, {
        hint: `set ${what}.port, or TIDEMARK_${what.toUpperCase()}_PORT`,
        cause: error,
      });
    }
    if (code === 'EACCES' || code === 'EADDRNOTAVAIL') {
      throw new CommandError(EXIT.unable, `${what}: can't listen on ${at}: ${(error as Error).message}`, {
        hint: `set ${what}.host and ${what}.port`,
        cause: error,
      });
    }
    throw error;
  }
}
