// An S3 server of another maker (s3rver), in this process: it checks signatures with its own code. Its keys are fixed.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { S3Server } from './s3-server.ts';

export const FOREIGN_KEYS = { ID: 'S3RVER', SECRET: 'S3RVER' };

type S3rver = new (options: {
  directory: string;
  silent: boolean;
  vhostBuckets: boolean;
  configureBuckets: readonly { name: string }[];
}) => { callback(): Parameters<typeof createServer>[1]; configureBuckets(): Promise<unknown> };

/** What it keeps of `bucket` is below `folder`. */
export async function startForeignS3(
  folder: string,
  bucket: string,
): Promise<Pick<S3Server, 'endpoint' | 'objectPath' | 'close'>> {
  const Server = createRequire(import.meta.url)('@20minutes/s3rver') as S3rver;
  const store = new Server({
    directory: folder,
    silent: true,
    vhostBuckets: false,
    configureBuckets: [{ name: bucket }],
  });
  await store.configureBuckets();
  const server = createServer(store.callback());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    objectPath: (key) => join(folder, key.endsWith('/') ? key : `${key}._S3rver_object`),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
