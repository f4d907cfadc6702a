// The parts of kafkajs that the tests use and its own types leave out.
declare module 'kafkajs/src/protocol/decoder.js' {
  export default class Decoder {
    constructor(bytes: Buffer);
    offset: number;
  }
}

declare module 'kafkajs/src/protocol/recordBatch/v0/decoder.js' {
  import type Decoder from 'kafkajs/src/protocol/decoder.js';

  export interface KafkaRecord {
    readonly attributes: number;
    /** Decimal, ms. */
    readonly timestamp: string;
    readonly offset: string;
    readonly key: Buffer | null;
    readonly value: Buffer | null;
    /** An array where a name comes more than once. */
    readonly headers: Readonly<Record<string, Buffer | Buffer[]>>;
    readonly isControlRecord: boolean;
  }

  export interface KafkaBatch {
    readonly firstOffset: string;
    readonly firstTimestamp: string;
    readonly maxTimestamp: string;
    readonly lastOffsetDelta: number;
    readonly partitionLeaderEpoch: number;
    readonly inTransaction: boolean;
    readonly isControlBatch: boolean;
    readonly producerId: string;
    readonly producerEpoch: number;
    readonly firstSequence: number;
    readonly records: readonly KafkaRecord[];
  }

  export default function decodeBatch(decoder: Decoder): Promise<KafkaBatch>;
}
