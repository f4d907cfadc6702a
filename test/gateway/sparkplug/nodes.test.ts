// Edge nodes by their certificates: aliases, sequence numbers, births and deaths, and the bounds of what is known.
import { expect, test } from 'vitest';
import { decodeSparkplug, parseSparkplugTopic } from '../../../gateway/codecs/sparkplug.ts';
import { SparkplugNodes } from '../../../gateway/sparkplug/nodes.ts';
import { bdSeq, encode, type TahuMetric } from './payloads.ts';

const limits = { maxNodes: 3, maxMetrics: 100 };

function world(given = limits) {
  const nodes = new SparkplugNodes(given);
  const send = (topic: string, seq: number | undefined, metrics: TahuMetric[] = []) => {
    const bytes = encode({ timestamp: 1_000, ...(seq === undefined ? {} : { seq }), metrics });
    const taken = nodes.take(parseSparkplugTopic(`spBv1.0/${topic}`)!, decodeSparkplug(bytes));
    return {
      rebirth: taken.rebirth,
      values: Object.fromEntries(taken.metrics.map(({ name, value }) => [name, value])),
    };
  };
  return { nodes, send };
}

const temperature = { name: 'Temperature', alias: 7, type: 'Double', value: 20 };
const level = { name: 'Level', alias: 8, type: 'Int16', value: -4 };
const byAlias = (alias: number, value: number, type = 'Double'): TahuMetric => ({ alias, value, type });

test('data by alias has the names of the births, of the node and of its devices', () => {
  const { nodes, send } = world();
  expect(send('G/NBIRTH/E', 0, [bdSeq(4), temperature])).toEqual({
    rebirth: null,
    values: { Temperature: 20 },
  });
  expect(send('G/DBIRTH/E/D', 1, [level])).toEqual({ rebirth: null, values: { Level: -4 } });
  expect(send('G/NDATA/E', 2, [byAlias(7, 21.5)])).toEqual({ rebirth: null, values: { Temperature: 21.5 } });
  expect(send('G/DDATA/E/D', 3, [byAlias(8, -5, 'Int16')])).toEqual({ rebirth: null, values: { Level: -5 } });
  // An alias of the node is none of its device's.
  expect(send('G/DDATA/E/D', 4, [byAlias(7, 1)])).toEqual({ rebirth: 'unknown-alias', values: {} });
  expect(nodes.figures()).toMatchObject({
    nodesOnline: 1,
    devicesOnline: 1,
    definitions: 2,
    unknownAliases: 1,
  });
});

test('sequence numbers go round at 255, and a gap is seen once', () => {
  const { nodes, send } = world();
  send('G/NBIRTH/E', 254, [temperature]);
  expect(send('G/NDATA/E', 255).rebirth).toBeNull();
  expect(send('G/NDATA/E', 0).rebirth).toBeNull();
  expect(send('G/NDATA/E', 2, [byAlias(7, 1)])).toEqual({
    rebirth: 'sequence-gap',
    values: { Temperature: 1 },
  });
  expect(send('G/NDATA/E', 3).rebirth).toBeNull();
  expect(send('G/NCMD/E', undefined).rebirth).toBeNull();
  expect(send('G/NDATA/E', 4).rebirth).toBeNull();
  expect(nodes.figures().sequenceGaps).toBe(1);
});

test('what comes without a birth, or after a death, has no names; the node is to be asked', () => {
  const { nodes, send } = world();
  const asked = { rebirth: 'no-birth', values: {} };
  expect(send('G/NDATA/E', 5, [byAlias(7, 1)])).toEqual(asked);
  send('G/NBIRTH/E', 0, [bdSeq(1), temperature]);
  expect(send('G/DDATA/E/D', 1, [byAlias(8, 1)])).toEqual(asked);
  send('G/DBIRTH/E/D', 2, [level]);
  send('G/DDEATH/E/D', 3);
  expect(send('G/DDATA/E/D', 4, [byAlias(8, 1)])).toEqual(asked);
  send('G/NDEATH/E', undefined, [bdSeq(1)]);
  expect(send('G/NDATA/E', 5, [byAlias(7, 1)])).toEqual(asked);
  expect(nodes.figures()).toMatchObject({ withoutBirth: 4, deaths: 2, nodesOnline: 0, devicesOnline: 0 });
});

test('a will of an earlier session, which comes late, kills nobody', () => {
  const { nodes, send } = world();
  send('G/NBIRTH/E', 0, [bdSeq(2), temperature]);
  send('G/NDEATH/E', undefined, [bdSeq(1)]);
  expect(send('G/NDATA/E', 1, [byAlias(7, 3)]).values).toEqual({ Temperature: 3 });
  send('G/NDEATH/E', undefined, [bdSeq(2)]);
  expect(nodes.figures()).toMatchObject({ staleDeaths: 1, deaths: 1, nodesOnline: 0 });
});

test('a new birth takes the place of all that was known', () => {
  const { nodes, send } = world();
  send('G/NBIRTH/E', 0, [bdSeq(1), temperature]);
  send('G/DBIRTH/E/D', 1, [level]);
  send('G/NBIRTH/E', 0, [bdSeq(2), { ...temperature, name: 'Pressure' }]);
  expect(send('G/NDATA/E', 1, [byAlias(7, 9)]).values).toEqual({ Pressure: 9 });
  expect(send('G/DDATA/E/D', 2, [byAlias(8, 1)]).rebirth).toBe('no-birth');
  expect(nodes.figures().definitions).toBe(1);
});

test('what is known is bounded: the node least recently heard gives way', () => {
  const { nodes, send } = world();
  for (const node of ['A', 'B', 'C']) send(`G/NBIRTH/${node}`, 0, [temperature]);
  send('G/NDATA/A', 1);
  send('G/NBIRTH/D', 0, [temperature]);
  expect(send('G/NDATA/B', 1, [byAlias(7, 1)]).rebirth).toBe('no-birth');
  const many = Array.from({ length: 99 }, (_, n) => ({ name: `m${n}`, alias: n, type: 'Int32', value: n }));
  send('G/NBIRTH/D', 0, many);
  expect(nodes.figures().definitions).toBeLessThanOrEqual(100);
  const tooMany = Array.from({ length: 101 }, (_, n) => ({ name: `m${n}`, type: 'Int32', value: n }));
  send('G/NBIRTH/D', 0, tooMany);
  expect(nodes.figures()).toMatchObject({ definitions: 0, nodesOnline: 0 });
  send('G/NBIRTH/E', 0, [temperature]);
  expect(send('G/NDATA/E', 1, [byAlias(7, 1)]).values).toEqual({ Temperature: 1 });
});

test('state goes on after a restart as if there had been none', () => {
  const { nodes, send } = world();
  const huge = { name: 'Huge', alias: 2 ** 53, type: 'UInt64', value: 1 };
  send('G/NBIRTH/E', 0, [bdSeq(1), temperature, huge]);
  send('G/DBIRTH/E/D', 1, [level]);
  nodes.host('scada', true);
  const again = new SparkplugNodes(limits);
  again.restore(nodes.serialise());
  expect(again.figures()).toEqual(nodes.figures());
  expect(Buffer.from(again.serialise()).toString()).toBe(Buffer.from(nodes.serialise()).toString());
  const bytes = encode({ seq: 2, metrics: [byAlias(7, 30)] });
  const topic = parseSparkplugTopic('spBv1.0/G/NDATA/E')!;
  expect(again.take(topic, decodeSparkplug(bytes))).toEqual(nodes.take(topic, decodeSparkplug(bytes)));
});
