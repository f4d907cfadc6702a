// Sparkplug payloads by Eclipse Tahu's own encoder, which shares nothing with our decoder.
import { createRequire } from 'node:module';

type Long = { toString(): string };
export interface TahuMetric {
  name?: string;
  alias?: number;
  type: string;
  value: unknown;
  timestamp?: number;
  isHistorical?: boolean;
  isNull?: boolean;
}
export interface TahuPayload {
  timestamp?: number;
  seq?: number;
  metrics?: TahuMetric[];
}
interface Tahu {
  encodePayload(payload: TahuPayload): Uint8Array;
  decodePayload(bytes: Uint8Array): {
    timestamp?: Long;
    seq?: Long;
    metrics?: { name?: string; value: unknown }[];
  };
}

const { get } = createRequire(import.meta.url)('sparkplug-payload') as { get(namespace: string): Tahu };
export const tahu = get('spBv1.0');

export const encode = (payload: TahuPayload): Buffer => Buffer.from(tahu.encodePayload(payload));

export const bdSeq = (value: number): TahuMetric => ({ name: 'bdSeq', type: 'UInt64', value });
