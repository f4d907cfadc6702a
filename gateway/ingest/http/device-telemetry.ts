// POST /api/v1/<token>/telemetry, as ThingsBoard's devices send: the token in the path says which device it is, the body
// is one JSON object or an array of them, each a record. Refuses tokens that belong to no device.
import { isUtf8 } from 'node:buffer';
import { SOURCE } from '../../../ledger/format/record.ts';
import { jsonArrayItems, submitBatch } from './batch.ts';
import type { Exchange } from './exchange.ts';
import { decodedPath, readHead } from './request.ts';
import type { TopicFiller } from './topic-levels.ts';

export const DEVICE_TELEMETRY = /^\/api\/v1\/([^/]+)\/telemetry$/;

export function deviceTelemetry(exchange: Exchange, topicOf: TopicFiller): void {
  const token = decodedPath(DEVICE_TELEMETRY.exec(exchange.path)?.[1] ?? '') ?? '';
  exchange.enter({ token }, (principal) => {
    const { device } = principal;
    if (device === null) {
      exchange.refuse({ code: 'not-allowed', detail: 'the token in the path belongs to no device' });
      return;
    }
    const topic = topicOf((name) => (name === 'device' ? device : undefined));
    const head = readHead(exchange.request, topic);
    if ('code' in head) exchange.refuse(head);
    else if (!principal.mayPublish(topic))
      exchange.refuse({ code: 'not-allowed', detail: `this device may not write to ${topic}` });
    else {
      const { messageId } = head;
      const key = messageId === null ? {} : { messageId };
      exchange.receive(exchange.parts.config.maxBatchBytes, (body) =>
        submit(exchange, { topic, device, ...key }, body),
      );
    }
  });
}

function submit(
  exchange: Exchange,
  named: { topic: string; device: string; messageId?: string },
  body: Buffer,
): void {
  const { admission, config } = exchange.parts;
  if (!isUtf8(body)) {
    exchange.refuse({ code: 'malformed', detail: 'the body is not valid UTF-8' });
    return;
  }
  exchange.sliced(jsonArrayItems(body, config), (items) => {
    if (items === 'too-many') {
      const detail = `the array has more than ${config.maxBatchLines} elements`;
      exchange.refuse({ code: 'too-large', detail });
      return;
    }
    const one = typeof items === 'string' ? jsonObject(body) : null;
    if (typeof items === 'string' && one === null) {
      exchange.refuse({
        code: 'malformed',
        detail: 'the body is neither a JSON object nor an array of them',
      });
      return;
    }
    const all = typeof items === 'string' ? [{ number: 1, payload: body, json: one, problem: null }] : items;
    if (all.length === 0) {
      exchange.answer(200, [], '');
      return;
    }
    const shared = {
      ...named,
      source: SOURCE.http,
      connection: exchange.request.socket,
      fallbackDevice: '',
      contentType: 'application/json',
      sequence: null,
      eventMs: null,
    };
    const submitting = submitBatch(admission, all, shared, (result, refusal) => {
      if (refusal === null) exchange.answer(200, [], '');
      else exchange.refused(refusal, result);
    });
    exchange.sliced(submitting);
  });
}

function jsonObject(body: Buffer): object | null {
  try {
    const value = JSON.parse(body.toString('utf8')) as unknown;
    return typeof value === 'object' && value !== null ? value : null;
  } catch {
    return null;
  }
}
