// Owns the words on the wire: one reading as topic and payload, in the form each protocol's devices use. Sparkplug's
// binary form is made by its client, from the JSON text here, because it counts per connection.
import type { Protocol } from './clients/client.ts';

export interface Worded {
  readonly fleet: string;
  readonly device: string;
  readonly eventMs: number;
  readonly sequence: number | null;
  readonly metric: string;
  readonly values: Readonly<Record<string, number>>;
}

export function encode(protocol: Protocol, reading: Worded): { topic: string; payload: string } {
  const { fleet, device, eventMs, sequence, metric, values } = reading;
  if (protocol === 'line') {
    // InfluxDB line protocol: measurement,tags fields time; whole numbers carry an i, times are in milliseconds.
    const fields = Object.entries(values).map(([name, value]) => `${name}=${value}`);
    if (sequence !== null) fields.push(`seq=${sequence}i`);
    return {
      topic: `${fleet}/${device}/${metric}`,
      payload: `${metric},device=${device} ${fields.join(',')} ${eventMs}`,
    };
  }
  const numbered = sequence === null ? {} : { seq: sequence };
  return {
    topic:
      protocol === 'sparkplug'
        ? `spBv1.0/${fleet}/DDATA/${device}-edge/${device}`
        : `${fleet}/${device}/${metric}`,
    payload: JSON.stringify({ ts: eventMs, ...numbered, ...values }),
  };
}
