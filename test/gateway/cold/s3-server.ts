// A small object store over real HTTP: keeps objects as files and checks each request's Signature Version 4 with code of its
// own (node:crypto, written from the published algorithm), and the hash of the body against the signed one.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';

const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest();

export interface S3Options {
  readonly folder: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
}

export interface S3Server {
  readonly endpoint: string;
  /** Method and path of each request that was authorised. */
  readonly requests: string[];
  /** The next requests are answered 503. */
  failNext(count: number): void;
  objectPath(key: string): string;
  close(): Promise<void>;
}

export async function startS3(options: S3Options): Promise<S3Server> {
  const requests: string[] = [];
  let failing = 0;
  const objectPath = (key: string) => join(options.folder, key);
  const server: Server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const body = Buffer.concat(pieces);
      const answer = (status: number, text: string | Buffer = '') => response.writeHead(status).end(text);
      if (failing > 0) {
        failing -= 1;
        return answer(503, '<Error><Code>SlowDown</Code></Error>');
      }
      const problem = whyRefused(request, body, options);
      if (problem) return answer(403, `<Error><Code>${problem}</Code></Error>`);
      requests.push(`${request.method} ${request.url}`);
      const path = objectPath(decodeURIComponent(new URL(request.url!, 'http://x').pathname.slice(1)));
      if (request.method === 'PUT') {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(`${path}.part`, body);
        renameSync(`${path}.part`, path);
        return answer(200);
      }
      if (request.method !== 'GET') return answer(405);
      return existsSync(path)
        ? answer(200, readFileSync(path))
        : answer(404, '<Error><Code>NoSuchKey</Code></Error>');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    requests,
    failNext: (count) => {
      failing = count;
    },
    objectPath,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function whyRefused(request: IncomingMessage, body: Buffer, options: S3Options): string | null {
  const { region, accessKeyId, secretAccessKey } = options;
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? '',
    );
  if (!match) return 'AccessDenied';
  const [, id, day, signedRegion, signedHeaders, signature] = match as unknown as string[];
  if (id !== accessKeyId) return 'InvalidAccessKeyId';
  if (signedRegion !== region) return 'AuthorizationHeaderMalformed';
  const header = (name: string) =>
    String(request.headers[name] ?? '')
      .trim()
      .replace(/ +/g, ' ');
  const time = header('x-amz-date');
  if (!time.startsWith(day!)) return 'AccessDenied';
  const age =
    Date.now() - Date.parse(time.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (!(Math.abs(age) < 900_000)) return 'RequestTimeTooSkewed';
  const names = signedHeaders!.split(';');
  if (!names.includes('host') || !names.includes('x-amz-content-sha256')) return 'AccessDenied';
  const bodyHash = header('x-amz-content-sha256');
  if (bodyHash !== 'UNSIGNED-PAYLOAD' && bodyHash !== sha256(body)) return 'XAmzContentSHA256Mismatch';
  const url = new URL(request.url!, 'http://x');
  const query = [...url.searchParams]
    .map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(v)}`)
    .sort();
  const canonical = [
    request.method,
    url.pathname,
    query.join('&'),
    ...names.map((name) => `${name}:${header(name)}`),
    '',
    signedHeaders,
    bodyHash,
  ].join('\n');
  const scope = `${day}/${region}/s3/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n');
  const key = hmac(hmac(hmac(hmac(`AWS4${secretAccessKey}`, day!), region), 's3'), 'aws4_request');
  const expected = hmac(key, toSign);
  return timingSafeEqual(expected, Buffer.from(signature!, 'hex')) ? null : 'SignatureDoesNotMatch';
}
