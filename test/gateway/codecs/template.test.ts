import fc from 'fast-check';
import { expect, test } from 'vitest';
import { templatesSchema } from '../../../gateway/codecs/config.ts';
import { TopicTemplates } from '../../../gateway/codecs/template.ts';

const templates = (config?: unknown) => new TopicTemplates(templatesSchema.parse(config));

test('the default templates name device and metric', () => {
  const match = templates().match('plant/pump-1/vibration');
  expect(match).toMatchObject({ device: 'pump-1', metric: 'vibration' });
  expect(templates().match('north/cold-2/temperature')).toMatchObject({
    device: 'cold-2',
    metric: 'temperature',
  });
});

test('the first template that fits wins, with its own pointers', () => {
  const both = templates([
    { topic: 'a/{device}/x', time: '/meta/at', sequence: null },
    '{site}/{device}/{metric}',
  ]);
  const first = both.match('a/d/x');
  expect(first.metric).toBeNull();
  expect(first.time?.tokens).toEqual(['meta', 'at']);
  expect(first.sequence).toBeNull();
  expect(both.match('a/d/y')).toMatchObject({ device: 'd', metric: 'y' });
});

test.each(['a', 'a/b', 'a/b/c/d', 'a//c', '$SYS/b/c', ''])('%j has neither device nor metric', (topic) => {
  expect(templates().match(topic)).toMatchObject({ device: null, metric: null });
});

test.each(['a/#', '$x/{device}', 'a/b{device}', '{device}/{device}', ''])(
  'template %j is refused',
  (topic) => {
    expect(templatesSchema.safeParse([topic]).success).toBe(false);
  },
);

test('a level of the topic is found again where its name stands, whatever it holds', () => {
  const level = fc.string({ minLength: 1, unit: 'grapheme' }).filter((text) => !/[/]/.test(text));
  const anyTemplates = templates(['s/{device}/t/{metric}']);
  fc.assert(
    fc.property(level, level, (device, metric) => {
      expect(anyTemplates.match(`s/${device}/t/${metric}`)).toMatchObject({ device, metric });
    }),
    { numRuns: 300 },
  );
});

test('matching never throws', () => {
  const anyTemplates = templates();
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (topic) => void anyTemplates.match(topic)),
    { numRuns: 300 },
  );
});
