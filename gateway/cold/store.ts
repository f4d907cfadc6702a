// Where cold files go and come from: a folder, or object storage behind the S3 API. Knows names and bytes, no segments.
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, openAsBlob } from 'node:fs';
import { copyFile, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AwsClient } from 'aws4fetch';
import { CodedError } from '../../ledger/format/errors.ts';
import { isMissing } from '../log/fs.ts';
import type { ColdConfig, S3Config } from './config.ts';

type ColdErrorCode =
  | 'COLD_UNREACHABLE'
  | 'COLD_REFUSED'
  | 'COLD_MISSING'
  | 'COLD_DAMAGED'
  | 'COLD_NO_CREDENTIALS';

export class ColdError extends CodedError<ColdErrorCode> {
  override name = 'ColdError';

  constructor(code: ColdErrorCode, message: string, cause?: unknown) {
    super(code, message, { cause });
  }
}

export interface ColdStore {
  /** Puts a file under a name; durable there when it resolves. */
  put(name: string, path: string, sha256: string): Promise<void>;
  /** Fetches into a new local file. @throws ColdError COLD_MISSING */
  get(name: string, path: string): Promise<void>;
  /** SHA-256 of what is stored under the name, read back; null where there is nothing. */
  hashOf(name: string): Promise<string | null>;
}

/** @throws ColdError COLD_NO_CREDENTIALS */
export function openColdStore(config: ColdConfig, environment: NodeJS.ProcessEnv): ColdStore {
  return config.type === 'folder' ? new FolderStore(config.path) : new S3Store(config, environment);
}

export async function sha256OfFile(path: string): Promise<string> {
  const sha = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 1024 * 1024 }))
    sha.update(piece as Buffer);
  return sha.digest('hex');
}

class FolderStore implements ColdStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async put(name: string, path: string): Promise<void> {
    const target = join(this.#folder, name);
    await mkdir(dirname(target), { recursive: true });
    const draft = `${target}.new`;
    await copyFile(path, draft);
    await sync(draft);
    await rename(draft, target);
    await sync(dirname(target));
  }

  async get(name: string, path: string): Promise<void> {
    try {
      await copyFile(join(this.#folder, name), path);
    } catch (error) {
      if (!isMissing(error)) throw error;
      throw new ColdError('COLD_MISSING', `${name} is not in ${this.#folder}`, error);
    }
  }

  async hashOf(name: string): Promise<string | null> {
    try {
      return await sha256OfFile(join(this.#folder, name));
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }
}

async function sync(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

const RETRIES = 3;

class S3Store implements ColdStore {
  readonly #client: AwsClient;
  readonly #base: string;

  constructor(config: S3Config, environment: NodeJS.ProcessEnv) {
    const accessKeyId = environment[config.accessKeyIdEnv];
    const secretAccessKey = environment[config.secretAccessKeyEnv];
    if (!accessKeyId || !secretAccessKey)
      throw new ColdError(
        'COLD_NO_CREDENTIALS',
        `cold: the environment variables ${config.accessKeyIdEnv} and ${config.secretAccessKeyEnv} must hold the keys`,
      );
    this.#client = new AwsClient({
      accessKeyId,
      secretAccessKey,
      region: config.region,
      service: 's3',
      retries: RETRIES,
    });
    const endpoint = new URL(config.endpoint);
    if (!config.forcePathStyle) endpoint.hostname = `${config.bucket}.${endpoint.hostname}`;
    const root = endpoint.href.replace(/\/$/, '');
    this.#base = `${root}/${config.forcePathStyle ? `${config.bucket}/` : ''}${config.prefix}`;
  }

  async put(name: string, path: string, sha256: string): Promise<void> {
    const body = await openAsBlob(path);
    // The hash is signed along: the store itself refuses bytes that changed on the way.
    await this.#send(name, { method: 'PUT', body, headers: { 'x-amz-content-sha256': sha256 } });
  }

  async get(name: string, path: string): Promise<void> {
    const response = await this.#send(name, { method: 'GET' });
    if (!response) throw new ColdError('COLD_MISSING', `${this.#base}${name} is not there`);
    await pipeline(
      Readable.fromWeb(response.body as never),
      createWriteStream(path, { flags: 'wx', mode: 0o640 }),
    );
  }

  async hashOf(name: string): Promise<string | null> {
    const response = await this.#send(name, { method: 'GET' });
    if (!response) return null;
    const sha = createHash('sha256');
    for await (const piece of Readable.fromWeb(response.body as never)) sha.update(piece as Buffer);
    return sha.digest('hex');
  }

  /** Null for 404 on a GET. Never names the keys. */
  async #send(name: string, init: RequestInit): Promise<Response | null> {
    const url = `${this.#base}${name}`;
    let response: Response;
    try {
      response = await this.#client.fetch(url, init);
    } catch (error) {
      throw new ColdError('COLD_UNREACHABLE', `${url} cannot be reached: ${(error as Error).message}`, error);
    }
    if (response.ok) return response;
    const text = await response.text().catch(() => '');
    if (response.status === 404 && init.method === 'GET') return null;
    const why = /<Code>([^<]{1,100})<\/Code>/.exec(text)?.[1] ?? response.statusText;
    throw new ColdError('COLD_REFUSED', `${init.method} ${url}: ${response.status} ${why}`);
  }
}

/** Removes a file; one that is not there is fine. */
export const removeFile = (path: string): Promise<void> => rm(path, { force: true });
