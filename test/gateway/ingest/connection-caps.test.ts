import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { expect, test, vi } from 'vitest';
import {
  ConnectionCaps,
  type CountedConnection,
  capConnections,
} from '../../../gateway/ingest/connection-caps.ts';

const admit = (caps: ConnectionCaps, address: string | undefined): CountedConnection => {
  const verdict = caps.admit(address);
  if (typeof verdict === 'string') throw new Error(`refused: ${verdict}`);
  return verdict;
};

test('connections count in total and by address, until they end', () => {
  const caps = new ConnectionCaps({ total: 3, perAddress: 2 });
  const first = admit(caps, '10.0.0.1');
  admit(caps, '::ffff:10.0.0.1');
  expect(caps.admit('10.0.0.1')).toBe('address');
  admit(caps, '10.0.0.2');
  expect(caps.admit('10.0.0.3')).toBe('total');
  first.end();
  first.end();
  expect(caps.figures()).toEqual({ open: 2, addresses: 2, refused: { total: 1, address: 1 } });
  admit(caps, '10.0.0.1');
  expect(caps.figures().open).toBe(3);
});

test.each([
  ['2001:db8:1:2::1', '2001:db8:1:2:ffff::9', true],
  ['2001:db8:1:2::1', '2001:db8:1:3::1', false],
  ['2001:0db8:0001:0002::1', '2001:DB8:1:2::5', true],
  ['fe80::1%eth0', 'fe80::2', true],
  ['::1', '::2', true],
  ['64:ff9b::192.0.2.1', '64:ff9b::1', true],
  [undefined, '10.0.0.1', false],
])('%s and %s count as one address: %s', (one, other, together) => {
  const caps = new ConnectionCaps({ total: 9, perAddress: 1 });
  admit(caps, one);
  expect(caps.admit(other) === 'address').toBe(together);
});

test('limits can change while connections are open', () => {
  const caps = new ConnectionCaps({ total: 1, perAddress: 1 });
  admit(caps, 'a');
  caps.update({ total: 2, perAddress: 2 });
  admit(caps, 'a');
  expect(caps.admit('a')).toBe('total');
});

test('a listener closes what is one too many, and takes more once others have gone', async () => {
  const caps = new ConnectionCaps({ total: 10, perAddress: 2 });
  const served: Socket[] = [];
  const server = createServer((socket) => void (socket.destroyed || served.push(socket.resume())));
  capConnections(server, caps);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const open = () => connect(port, '127.0.0.1').on('error', () => {});
  const clients = [open(), open()];
  await vi.waitFor(() => expect(served).toHaveLength(2), 30_000);
  const third = open();
  await once(third, 'close');
  expect(served).toHaveLength(2);
  expect(caps.figures()).toEqual({ open: 2, addresses: 1, refused: { total: 0, address: 1 } });
  clients[0]!.destroy();
  await vi.waitFor(() => expect(caps.figures().open).toBe(1), 30_000);
  const fourth = open();
  await vi.waitFor(() => expect(served).toHaveLength(3), 30_000);
  for (const socket of [...clients, fourth, ...served]) socket.destroy();
  server.close();
});
