// Owns the form of a scenario file: which fleets stand where, how they send, what goes wrong, and what is expected.
// Reads no file and runs nothing.
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { PROTOCOLS } from './clients/client.ts';
import { KINDS } from './device.ts';

const seconds = z
  .number()
  .min(0)
  .max(7 * 86_400);
const share = z.number().min(0).max(1);

const shapeSchema = z
  .discriminatedUnion('type', [
    z.strictObject({ type: z.literal('steady') }),
    z
      .strictObject({
        type: z.literal('burst'),
        everySeconds: seconds.min(1).default(30).describe('From one burst to the next.'),
        seconds: seconds.min(0.1).default(5).describe('Length of a burst.'),
        factor: z.number().min(0.01).max(1_000).default(5).describe('Rate during a burst, times the usual.'),
      })
      .describe('So many times the rate, again and again.'),
    z
      .strictObject({
        type: z.literal('diurnal'),
        low: z
          .number()
          .min(0.01)
          .max(1)
          .default(0.2)
          .describe('Rate at four in the morning, times the usual.'),
      })
      .describe('The rate follows the scenario’s day; the usual rate is that of the afternoon.'),
    z
      .strictObject({
        type: z.literal('storm'),
        atSeconds: seconds.default(10).describe('When it begins.'),
        seconds: seconds.min(0.1).default(20).describe('How long it takes.'),
        factor: z.number().min(1).max(1_000).default(10).describe('Greatest rate, reached half way.'),
      })
      .describe('The rate climbs to a peak once, and falls again.'),
  ])
  .describe('How the rate goes over time.');

const quirksSchema = z
  .strictObject({
    batch: z.int().min(1).max(1_000).default(1).describe('Readings held back and sent together.'),
    duplicates: share.default(0).describe('Share of records sent twice, byte for byte.'),
    reordered: share.default(0).describe('Share of records sent after the one that follows them.'),
    restartsPerHour: z.number().min(0).max(3_600).default(0).describe('Each loses what it had not sent.'),
    sequence: z
      .enum(['kept', 'reset', 'clock', 'none'])
      .default('clock')
      .describe(
        'The counter after a restart: goes on, begins at 0, begins at the device’s clock; none at all.',
      ),
    clockOffsetSeconds: z
      .number()
      .min(-4e9)
      .max(4e9)
      .default(0)
      .describe('What the device’s clock is wrong by.'),
    clockDriftPpm: z.number().min(-1e6).max(1e6).default(0).describe('How much too fast it runs.'),
    clockJumpsPerHour: z.number().min(0).max(3_600).default(0),
    clockJumpSeconds: seconds.default(30).describe('Greatest jump, either way.'),
    offlinePerHour: z.number().min(0).max(3_600).default(0).describe('How often the link is gone.'),
    offlineSeconds: z
      .tuple([seconds, seconds])
      .refine(([low, high]) => low <= high, 'the shorter time comes first')
      .default([10, 30])
      .describe('For how long: shortest, longest. Records are kept and sent afterwards.'),
  })
  .describe('What the firmware does beside sending readings on time.');

const fleetSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,31}$/, 'lower-case letters, digits and `-`')
    .describe('Devices are name-1, name-2 …'),
  kind: z.enum(KINDS),
  count: z.int().min(1).max(100_000),
  protocol: z
    .union([z.enum(PROTOCOLS), z.array(z.enum(PROTOCOLS)).min(1)])
    .default('mqtt')
    .describe('One, or several that devices take in turn.'),
  tls: z.boolean().default(false).describe('MQTT over TLS, to the address given with --mqtts.'),
  ratePerDevice: z.number().min(0.0001).max(100_000).default(1).describe('Records per second.'),
  shape: shapeSchema.prefault({ type: 'steady' }),
  rampSeconds: seconds.default(0).describe('Connections begin spread over this long.'),
  churnPerMinute: share
    .default(0)
    .describe('Share of devices that drop their connection and come back, a minute.'),
  window: z
    .int()
    .min(1)
    .max(10_000)
    .optional()
    .describe('Records unanswered at once; by protocol if not given.'),
  maxBuffered: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(10_000)
    .describe('Records a device keeps while it cannot send.'),
  quirks: quirksSchema.prefault({}),
});

const stormSchema = z.strictObject({
  atSeconds: seconds.describe('When the devices lose their connections, all at once.'),
  forSeconds: seconds.default(1).describe('For how long they stay away.'),
  spreadSeconds: seconds.default(0).describe('They come back spread over this long.'),
  fleets: z.array(z.string()).optional().describe('Default all.'),
});

const expectSchema = z
  .strictObject({
    ackedMin: z.int().min(0).optional().describe('Records acknowledged at least; scaled with --scale.'),
    refusedMax: z.int().min(0).optional(),
    droppedMax: z
      .int()
      .min(0)
      .optional()
      .describe('Records given up by devices with full buffers or at restarts.'),
    pendingMax: z.int().min(0).default(0).describe('Records unanswered after the drain.'),
    connectedMin: z.int().min(0).optional().describe('Greatest number of connections at once; scaled.'),
    ackP99MsMax: z
      .number()
      .min(0)
      .optional()
      .describe('Acknowledgement latency of the fleets not in `apart`.'),
    faultsFoundMin: share.optional().describe('Share of injected faults with an anomaly.'),
  })
  .describe(
    'What must come of it. Nothing acknowledged may be lost, doubled, reordered, changed or unproven anyway.',
  );

export const scenarioFileSchema = z
  .strictObject({
    name: z.string().regex(/^[a-z0-9-]{1,64}$/),
    about: z.string().default(''),
    seed: z.union([z.int().min(0), z.string()]).default(1),
    seconds: seconds.min(0.1).default(60).describe('How long devices send.'),
    drainSeconds: seconds
      .default(60)
      .describe(
        'How long to wait at the end for an answer to what is still on its way, from the one before.',
      ),
    dayMinutes: z.number().min(0.1).max(1_440).default(1_440).describe('Length of a day of the physics.'),
    startHour: z.number().min(0).max(24).default(9),
    startWeekday: z.int().min(1).max(7).default(1).describe('1 is Monday; people rest on 6 and 7.'),
    faultsPerHour: z.number().min(0).max(36_000).default(0).describe('Labelled faults, over all devices.'),
    fleets: z.array(fleetSchema).min(1).max(64),
    storms: z.array(stormSchema).max(1_000).default([]),
    apart: z
      .array(z.string())
      .default([])
      .describe('Fleets whose latencies are counted apart, e.g. a flooding one.'),
    expect: expectSchema.prefault({}),
  })
  .superRefine(({ fleets, storms, apart }, context) => {
    const names = new Set<string>();
    for (const [index, { name }] of fleets.entries()) {
      if (names.has(name))
        context.addIssue({
          code: 'custom',
          path: ['fleets', index, 'name'],
          message: `there are two fleets called ${name}`,
        });
      names.add(name);
    }
    for (const name of [...storms.flatMap((storm) => storm.fleets ?? []), ...apart])
      if (!names.has(name)) context.addIssue({ code: 'custom', message: `there is no fleet called ${name}` });
  });

export type ScenarioFile = z.infer<typeof scenarioFileSchema>;
export type FleetSpec = ScenarioFile['fleets'][number];
export type Shape = FleetSpec['shape'];

/** Says in the message, line by line, what is wrong and where. */
export class ScenarioError extends Error {
  override name = 'ScenarioError';
}

/** @throws ScenarioError */
export function parseScenario(yaml: string): ScenarioFile {
  let value: unknown;
  try {
    value = parseYaml(yaml);
  } catch (cause) {
    throw new ScenarioError(`not YAML: ${(cause as Error).message}`, { cause });
  }
  const result = scenarioFileSchema.safeParse(value);
  if (result.success) return result.data;
  const lines = result.error.issues.map(({ path, message }) => `${path.join('.') || 'the file'}: ${message}`);
  throw new ScenarioError(lines.join('\n'));
}

/** Fewer devices and less time, for a quick look: at least one device of each fleet. */
export function scaled(file: ScenarioFile, scale: number, runSeconds = file.seconds): ScenarioFile {
  const time = runSeconds / file.seconds;
  const { expect } = file;
  const down = (value: number | undefined, by: number) =>
    value === undefined ? undefined : Math.floor(value * by);
  return {
    ...file,
    seconds: runSeconds,
    storms: file.storms.map((storm) => ({
      ...storm,
      atSeconds: storm.atSeconds * time,
      forSeconds: storm.forSeconds * time,
      spreadSeconds: storm.spreadSeconds * time,
    })),
    fleets: file.fleets.map((fleet) => ({
      ...fleet,
      count: Math.max(1, Math.round(fleet.count * scale)),
      rampSeconds: fleet.rampSeconds * time,
    })),
    expect: {
      ...expect,
      ackedMin: down(expect.ackedMin, scale * time),
      connectedMin: down(expect.connectedMin, scale),
    },
  };
}
