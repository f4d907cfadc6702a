import { expect, test } from 'vitest';
import { Throttle } from '../../../gateway/access/throttle.ts';

const config = { attempts: 3, attemptsPerAddress: 5, windowMs: 1_000, maxEntries: 16 };

function throttle() {
  const clock = { ms: 0 };
  return { clock, throttle: new Throttle(config, () => clock.ms) };
}

test('waits after so many wrong ones under a name, and not for ever', () => {
  const { clock, throttle: it } = throttle();
  for (let i = 0; i < 3; i += 1) {
    expect(it.waitMs('192.0.2.1', 'a')).toBe(0);
    it.wrong('192.0.2.1', 'a');
  }
  expect(it.waitMs('192.0.2.1', 'a')).toBe(1_000);
  expect(it.waitMs('192.0.2.1', 'b')).toBe(0);
  expect(it.waitMs('192.0.2.2', 'a')).toBe(0);
  clock.ms = 1_000;
  expect(it.waitMs('192.0.2.1', 'a')).toBe(0);
});

test('waits for a whole address when it tries many names; an IPv6 network is one address', () => {
  const { throttle: it } = throttle();
  for (let i = 0; i < 5; i += 1) it.wrong(`2001:db8:0:1::${i + 1}`, `name ${i}`);
  expect(it.waitMs('2001:db8:0:1:ffff::1', 'other')).toBe(1_000);
  expect(it.waitMs('2001:db8:0:2::1', 'other')).toBe(0);
  for (let i = 0; i < 5; i += 1) it.wrong('::ffff:192.0.2.7', `name ${i}`);
  expect(it.waitMs('192.0.2.7', 'other')).toBe(1_000);
});

test('a right one makes wrong ones of that name forgotten', () => {
  const { throttle: it } = throttle();
  it.wrong('192.0.2.1', 'a');
  it.wrong('192.0.2.1', 'a');
  it.right('192.0.2.1', 'a');
  it.wrong('192.0.2.1', 'a');
  expect(it.waitMs('192.0.2.1', 'a')).toBe(0);
});

test('remembers no more than it may', () => {
  const { throttle: it } = throttle();
  for (let i = 0; i < 1_000; i += 1) it.wrong(`192.0.2.${i % 250}`, `name ${i}`);
  expect(it.entries).toBe(16);
});
