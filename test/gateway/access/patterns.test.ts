import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Patterns } from '../../../gateway/access/patterns.ts';
import { topicMatcher } from '../../../gateway/codecs/topic-matcher.ts';

test('a topic is matched as MQTT matches it [MQTT-4.7.1-2, MQTT-4.7.2-1]', () => {
  const level = fc.constantFrom('a', 'b', '', '$x', 'a b');
  const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
  const filter = fc
    .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
    .map(([levels, rest]) => [...levels, ...(rest ? ['#'] : [])].join('/'));
  fc.assert(
    fc.property(filter, topic, (pattern, name) => {
      expect(new Patterns([pattern], 'd').matches(name)).toBe(topicMatcher([pattern])(name));
    }),
  );
});

test('a filter that is covered matches nothing the pattern does not', () => {
  const level = fc.constantFrom('a', 'b', '$x');
  const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
  const filter = fc
    .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 0, maxLength: 3 }), fc.boolean())
    .filter(([levels, rest]) => rest || levels.length > 0)
    .map(([levels, rest]) => [...levels, ...(rest ? ['#'] : [])].join('/'));
  fc.assert(
    fc.property(filter, filter, topic, (pattern, wanted, name) => {
      fc.pre(new Patterns([pattern], 'd').covers(wanted));
      if (topicMatcher([wanted])(name)) expect(topicMatcher([pattern])(name)).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

test('what is wider than the pattern is not covered', () => {
  const patterns = new Patterns(['plant/%device%/#', 'cmd/+/x'], 'pump-1');
  const covered = [
    'plant/pump-1',
    'plant/pump-1/#',
    'plant/pump-1/+/y',
    'cmd/+/x',
    'cmd/a/x',
    '$share/g/cmd/a/x',
  ];
  const wider = [
    '#',
    '+',
    'plant/#',
    'plant/+/level',
    'plant/pump-2/x',
    'cmd/#',
    'cmd/+/+',
    '$share/g/#',
    '$SYS/#',
  ];
  expect(covered.filter((filter) => !patterns.covers(filter))).toEqual([]);
  expect(wider.filter((filter) => patterns.covers(filter))).toEqual([]);
});

test('a device’s name is taken literally, whatever is in it', () => {
  expect(new Patterns(['a/%device%'], '+').matches('a/x')).toBe(false);
  expect(new Patterns(['a/%device%'], '#').matches('a/x/y')).toBe(false);
  expect(new Patterns(['a/%device%'], '$&').matches('a/$&')).toBe(true);
  expect(new Patterns(['a/line-%device%/x'], '7').matches('a/line-7/x')).toBe(true);
});
