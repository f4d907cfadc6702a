// Topic filters, by the examples of MQTT 3.1.1 §4.7.1 and §4.7.2.
import { expect, test } from 'vitest';
import { topicFilter } from '../../../gateway/codecs/topic-filter.ts';
import { topicMatcher } from '../../../gateway/codecs/topic-matcher.ts';

test.each([
  ['sport/tennis/player1/#', 'sport/tennis/player1', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/ranking', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
  ['sport/#', 'sport', true],
  ['#', 'a/b', true],
  ['sport/tennis/+', 'sport/tennis/player1', true],
  ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
  ['sport/+', 'sport', false],
  ['+/+', '/finance', true],
  ['/+', '/finance', true],
  ['+', '/finance', false],
  ['#', '$tidemark/windows/minute', false],
  ['+/windows/minute', '$tidemark/windows/minute', false],
  ['$tidemark/#', '$tidemark/windows/minute', true],
  ['$tidemark/+/minute', '$tidemark/windows/minute', true],
  ['$tidemark/#', '$other/minute', false],
  ['plant/+/vibration', 'plant/pump-1/vibration', true],
  ['plant/+/vibration', 'plant/pump-1/power', false],
  ['plant/pump-1', 'plant/pump-10', false],
  ['plant/+/v', 'plant/a', false],
  ['plant/a', 'plant/a/v', false],
])('%s and %s: %s', (filter, topic, expected) => {
  const wanted = topicMatcher([filter]);
  expect(wanted(topic)).toBe(expected);
  expect(wanted(topic)).toBe(expected);
});

test('any of several filters is enough, and remembering many topics changes no answer', () => {
  const wanted = topicMatcher(['a/+', 'b/#']);
  for (let round = 0; round < 2; round += 1) {
    for (let n = 0; n < 10_000; n += 1)
      if (!wanted(`a/${n}`) || wanted(`c/${n}`)) throw new Error(`wrong for ${n}`);
  }
});

test.each(['#', '+', 'a', '/', 'a//b', '+/a/#', '$tidemark/#', 'a b/é', 'x'.repeat(512)])(
  '%s is a filter',
  (filter) => {
    expect(topicFilter.safeParse(filter).success).toBe(true);
  },
);

test.each(['', 'a/#/b', '#/a', 'a/b+', '+b', 'a#', 'a/##', 'a\0b', 'x'.repeat(513)])(
  '%j is not a filter',
  (filter) => {
    expect(topicFilter.safeParse(filter).success).toBe(false);
  },
);

test('a long text that is not a filter is refused at once', () => {
  expect(topicFilter.safeParse(`${'a/'.repeat(255)}#+`).success).toBe(false);
});
