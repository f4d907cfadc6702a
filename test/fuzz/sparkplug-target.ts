// Fuzz target of the Sparkplug decoder, beside Eclipse Tahu's. Claims: refused or read, nothing else; and what both read
// has the same metrics under the same names.
import { deepStrictEqual } from 'node:assert';
import { ProtobufError } from '../../gateway/codecs/protobuf.ts';
import { decodeSparkplug, type SparkplugPayload } from '../../gateway/codecs/sparkplug.ts';
import { metricValue } from '../../gateway/codecs/sparkplug-values.ts';
import { arraysPayload, bdSeq, encode, structuredPayload, tahu } from '../gateway/sparkplug/payloads.ts';
import type { Target } from './target.ts';

const good = [
  encode({
    timestamp: 1_763_600_000_000,
    seq: 0,
    metrics: [
      bdSeq(7),
      { name: 'Temperature', alias: 1, type: 'Double', value: 20.5, timestamp: 1_763_600_000_000 },
      { name: 'Level', alias: 300, type: 'Int16', value: -4 },
      { name: 'Serial', type: 'String', value: 'Pümpe 1' },
      { name: 'Running', type: 'Boolean', value: true },
    ],
  }),
  encode({ timestamp: 5, seq: 255, metrics: [{ alias: 1, type: 'Float', value: 0.5, isHistorical: true }] }),
  encode({ timestamp: 5, metrics: [bdSeq(1)] }),
  structuredPayload,
  arraysPayload,
];

function read(bytes: Buffer): SparkplugPayload | null {
  try {
    return decodeSparkplug(bytes);
  } catch (error) {
    if (error instanceof ProtobufError) return null;
    throw error;
  }
}

/**
 * What Tahu reads, or null. It looks into parts that ours passes over, may refuse those, and does not mind one that is
 * longer than the part it stands in: all that follows is then read at the wrong place.
 */
function readByTahu(bytes: Buffer): (string | null)[] | null {
  try {
    const metrics = tahu.decodePayload(bytes).metrics ?? [];
    const nested = metrics.some(
      (metric) => 'properties' in metric || 'metadata' in metric || isMessage(metric.value),
    );
    return nested ? null : metrics.map(({ name }) => name ?? null);
  } catch {
    return null;
  }
}

/** Whole numbers of 64 bits are objects too. */
const isMessage = (value: unknown) => typeof value === 'object' && value !== null && !('low' in value);

export function sparkplugTarget(): Target {
  return {
    name: 'Sparkplug payload',
    good,
    check: (bytes, isGood) => {
      const payload = read(bytes);
      if (payload === null) {
        if (isGood) throw new Error('good input is refused');
        return;
      }
      for (const metric of payload.metrics) metricValue(metric, metric.datatype);
      const theirs = readByTahu(bytes);
      if (theirs !== null)
        deepStrictEqual(
          payload.metrics.map(({ name }) => name || null),
          theirs.map((name) => name || null),
        );
    },
  };
}
