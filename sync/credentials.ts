// Owns reading a forwarder's secrets at the moment they are needed. Keeps none, and puts none into an error.
import { readFile } from 'node:fs/promises';
import type { MqttForwarderConfig } from './config.ts';
import { SinkError } from './sink.ts';

export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  /** PEM. */
  readonly ca?: string;
}

async function read(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new SinkError('REFUSED', `the ${what} ${file} cannot be read`, {
      facts: { file },
      cause: error,
      hint: 'check the path and that the gateway may read it',
    });
  }
}

/** Rejects with SinkError REFUSED where a named variable or file is not there. */
export async function loadCredentials(
  config: Pick<MqttForwarderConfig, 'username' | 'passwordEnv' | 'passwordFile' | 'caFile'>,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Credentials> {
  const { username, passwordEnv, passwordFile, caFile } = config;
  let password: string | undefined;
  if (passwordEnv !== undefined) {
    password = env[passwordEnv];
    if (password === undefined) {
      throw new SinkError('REFUSED', `the environment variable ${passwordEnv} is not set`, {
        facts: { variable: passwordEnv },
      });
    }
  } else if (passwordFile !== undefined) {
    // Editors and `echo` end the file with a line feed, which is no part of the password.
    password = (await read(passwordFile, 'password file')).replace(/\r?\n$/, '');
  }
  const ca = caFile === undefined ? undefined : await read(caFile, 'CA file');
  return {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(ca !== undefined && { ca }),
  };
}
