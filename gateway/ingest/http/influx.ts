// What InfluxDB's clients speak: POST /api/v2/write and /write (line protocol), and the small routes they ask before
// (/ping, /health, /query for CREATE DATABASE). Each line is a record. Refuses to be queried.
import { isUtf8 } from 'node:buffer';
import { SOURCE } from '../../../ledger/format/record.ts';
import type { Principal } from '../../access/types.ts';
import type { Outcome } from '../../admission/types.ts';
import { LINE_PROTOCOL_TYPE } from '../../codecs/content-type.ts';
import {
  eachLine,
  type LinePoint,
  LineProtocolError,
  type Precision,
  type ProtocolLine,
  parseLine,
  timestampMs,
} from '../../codecs/line-protocol.ts';
import type { Shown } from '../credentials.ts';
import { type Problem, type ProblemTarget, writeProblem } from '../problem.ts';
import { BatchOutcomes, type BatchResult } from './batch.ts';
import type { Exchange } from './exchange.ts';
import { JSON_HEAD } from './records.ts';
import { problemOf, type Refused, refusalOf } from './refusal.ts';
import type { Sliced } from './slices.ts';
import type { TopicFiller } from './topic-levels.ts';

/** Both versions' words for a unit. */
const PRECISIONS: Readonly<Record<string, Precision>> = {
  '': 'ns',
  n: 'ns',
  ns: 'ns',
  u: 'us',
  us: 'us',
  µ: 'us',
  ms: 'ms',
  s: 's',
  m: 'm',
  h: 'h',
};
/** Lines between two places where the work may be interrupted. */
const SLICE_LINES = 128;
const QUERY_BODY_BYTES_MAX = 65_536;
const QUOTED_CHARACTERS_MAX = 256;
/** Their clients look for a number; the word says who answers. */
const VERSION_HEAD = ['x-influxdb-version', '2.0-tidemark', 'x-influxdb-build', 'tidemark'] as const;

/** The members of a problem, and `message` and `error`, which the clients of version 2 and 1 look for. */
export function writeInfluxRefusal(response: ProblemTarget, problem: Problem, more: object = {}): void {
  const { detail } = problem;
  const names = { message: detail, error: detail };
  writeProblem(response, problem, { ...names, ...more }, 'application/json; charset=utf-8');
}

/**
 * The same for version 1, whose clients throw away what is answered 4xx (Telegraf: any 4xx): what is to be sent again is
 * 503 there, never 429.
 */
function writeInflux1Refusal(response: ProblemTarget, problem: Problem, more?: object): void {
  writeInfluxRefusal(response, problem.status === 429 ? { ...problem, status: 503 } : problem, more);
}

/** InfluxDB 1.x clients name the user in the query. */
export function shownInQuery({ query }: Exchange): Shown | undefined {
  const username = query.get('u');
  return username === null ? undefined : { username, password: query.get('p') ?? '' };
}

export function writeLines(exchange: Exchange, topicOf: TopicFiller): void {
  exchange.writeRefusal = exchange.path === '/write' ? writeInflux1Refusal : writeInfluxRefusal;
  exchange.enter(shownInQuery(exchange), (principal) => {
    const { query } = exchange;
    const bucket = query.get('bucket') ?? query.get('db') ?? '';
    const precision = PRECISIONS[query.get('precision') ?? ''];
    if (bucket === '') exchange.refuse({ code: 'malformed', detail: 'bucket (or db) is required' });
    else if (precision === undefined)
      exchange.refuse({
        code: 'malformed',
        detail: 'invalid precision; valid units are ns, us, ms, s, m, h',
      });
    else
      exchange.receive(exchange.parts.config.maxBatchBytes, (body) =>
        submitLines(exchange, { principal, bucket, precision, topicOf }, body),
      );
  });
}

interface WriteTarget {
  readonly principal: Principal;
  readonly bucket: string;
  readonly precision: Precision;
  readonly topicOf: TopicFiller;
}

function submitLines(exchange: Exchange, target: WriteTarget, body: Buffer): void {
  const { maxBatchLines } = exchange.parts.config;
  if (!isUtf8(body)) {
    exchange.refuse({ code: 'malformed', detail: 'the body is not valid UTF-8' });
    return;
  }
  exchange.sliced(findLines(body, maxBatchLines), (lines) => {
    if (lines === 'too-many')
      exchange.refuse({ code: 'too-large', detail: `the body has more than ${maxBatchLines} lines` });
    else if (lines.length === 0) exchange.answer(204, VERSION_HEAD, '');
    else {
      const outcomes = new BatchOutcomes(lines.length, (result, refusal) =>
        answer(exchange, result, refusal),
      );
      exchange.sliced(submitEach(exchange, target, lines, outcomes));
    }
  });
}

function* findLines(body: Buffer, linesMax: number): Sliced<ProtocolLine[] | 'too-many'> {
  const lines: ProtocolLine[] = [];
  for (const line of eachLine(body)) {
    if (line === null) yield;
    else if (lines.length === linesMax) return 'too-many';
    else lines.push(line);
  }
  return lines;
}

function* submitEach(
  exchange: Exchange,
  target: WriteTarget,
  lines: readonly ProtocolLine[],
  outcomes: BatchOutcomes,
): Sliced<void> {
  for (const [index, line] of lines.entries()) {
    submitLine(exchange, target, line, (outcome) => outcomes.add(line.number, outcome));
    if (index % SLICE_LINES === SLICE_LINES - 1) yield;
  }
}

function submitLine(
  { parts: { admission }, request: { socket: connection } }: Exchange,
  { principal, bucket, precision, topicOf }: WriteTarget,
  { bytes }: ProtocolLine,
  done: (outcome: Outcome) => void,
): void {
  const reject = (reason: 'malformed' | 'not-allowed', detail: string) => {
    admission.countRefusal('http', reason);
    done({ kind: 'reject', reason, detail });
  };
  const point = readPoint(bytes, precision);
  if (typeof point === 'string') {
    reject('malformed', point);
    return;
  }
  const { measurement, tags, eventMs } = point;
  const topic = topicOf((name) => {
    if (name === 'bucket') return bucket;
    if (name === 'measurement') return measurement;
    const tag = tags.find(([key]) => key === name)?.[1];
    // A device that does not say its host is its own.
    return tag ?? (name === 'host' ? (principal.device ?? undefined) : undefined);
  });
  if (!principal.mayPublish(topic)) {
    reject('not-allowed', `these credentials may not write to ${topic}`);
    return;
  }
  const contentType =
    precision === 'ns' ? LINE_PROTOCOL_TYPE : `${LINE_PROTOCOL_TYPE}; precision=${precision}`;
  const { device } = principal;
  const payload = bytes;
  admission.submit(
    {
      source: SOURCE.http,
      connection,
      topic,
      device,
      fallbackDevice: '',
      contentType,
      payload,
      sequence: null,
      eventMs,
    },
    done,
  );
}

/** The point with its time, or why the line is none, in InfluxDB's words. */
function readPoint(bytes: Buffer, precision: Precision): (LinePoint & { eventMs: number | null }) | string {
  const unable = (why: string) =>
    `unable to parse '${bytes.toString('utf8').slice(0, QUOTED_CHARACTERS_MAX)}': ${why}`;
  try {
    const point = parseLine(bytes);
    const eventMs = point.timestamp === null ? null : timestampMs(point.timestamp, precision);
    return point.timestamp !== null && eventMs === null
      ? unable('time outside range')
      : { ...point, eventMs };
  } catch (error) {
    if (error instanceof LineProtocolError) return unable(error.message);
    throw error;
  }
}

/**
 * 204 when every line is stored. Else, as InfluxDB does, an error although the others are stored: 429 or 503 when some
 * are to be sent again (clients send all of them then), 400 when no repetition can help.
 */
function answer(exchange: Exchange, result: BatchResult, refusal: Refused | null): void {
  if (refusal === null) {
    exchange.answer(204, VERSION_HEAD, '');
    return;
  }
  const { rejected, errors } = result;
  const problem = problemOf(refusalOf(refusal));
  const first = errors.find(({ reason }) => reason === refusal.reason)!;
  // "partial write" makes clients throw the lines away: it must not stand where they are to be sent again.
  const detail =
    refusal.kind === 'shed'
      ? `${first.detail}: ${rejected} lines are not stored, send them again`
      : `partial write: ${first.detail} dropped=${rejected}`;
  exchange.refusedAs({ ...problem, detail }, result);
}

/** GET and HEAD /ping */
export function ping(exchange: Exchange): void {
  exchange.writeRefusal = writeInfluxRefusal;
  exchange.enter(shownInQuery(exchange), () => exchange.answer(204, VERSION_HEAD, ''));
}

/** GET /health, as version 2 has it: whether records are taken now. */
export function health(exchange: Exchange, isReady: boolean): void {
  exchange.writeRefusal = writeInfluxRefusal;
  exchange.enter(shownInQuery(exchange), () => {
    const body = isReady
      ? { name: 'tidemark', message: 'ready for writes', status: 'pass', checks: [] }
      : { name: 'tidemark', message: 'not taking records now', status: 'fail', checks: [] };
    exchange.answer(isReady ? 200 : 503, [...JSON_HEAD, ...VERSION_HEAD], JSON.stringify(body));
  });
}

/** GET and POST /query: Telegraf creates its database before it writes; there is nothing to create here. */
export function query(exchange: Exchange): void {
  exchange.writeRefusal = writeInfluxRefusal;
  exchange.enter(shownInQuery(exchange), () => {
    exchange.receive(QUERY_BODY_BYTES_MAX, (body) => {
      const statement =
        exchange.query.get('q') ?? new URLSearchParams(body.toString('latin1')).get('q') ?? '';
      if (/^\s*create\s+database\s/i.test(statement))
        exchange.answer(200, [...JSON_HEAD, ...VERSION_HEAD], '{"results":[{"statement_id":0}]}');
      else
        exchange.refuse({
          code: 'malformed',
          detail: 'records are read back at /api/v1/records; only CREATE DATABASE is understood here',
        });
    });
  });
}
