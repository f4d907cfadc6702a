// Proofs from the worker thread: the same as made in place, and what happens when the thread cannot work.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { localProofs, type ProofAnswer, ProofWorker } from '../../../gateway/api/proofs.ts';
import { offset } from '../../../ledger/format/brand.ts';
import { verifyProof } from '../../../ledger/verify/index.ts';
import { reading, startTestGateway } from './gateway.ts';

test('a proof from the thread is the proof made in place', async () => {
  const gateway = await startTestGateway({
    seal: true,
    before: [reading('a', { value: 1 }), reading('a', { value: 2 })],
  });
  const worker = new ProofWorker({ dataDir: gateway.dataDir, durableEnd: gateway.log.durableEnd });
  const reader = await gateway.log.openReader();
  try {
    let answer: ProofAnswer;
    do answer = await worker.prove(offset(1));
    while (answer.kind === 'not-sealed-yet');
    expect(answer).toEqual(await localProofs(reader, gateway.dataDir).prove(offset(1)));
    expect(answer.kind === 'proof' && verifyProof(answer.text, { gatewayKey: gateway.publicKey }).valid).toBe(
      true,
    );
    await expect(worker.prove(offset(1))).resolves.toMatchObject({ kind: 'proof' });
  } finally {
    await reader.close();
    await worker.close();
    await gateway.close();
  }
  await expect(worker.prove(offset(0))).rejects.toMatchObject({ code: 'CLOSED' });
});

test('a thread that cannot open the log fails the request, not the gateway, and is tried anew', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'tidemark-proofs-'));
  // Too small for the end of a log: the thread ends before it can answer.
  const worker = new ProofWorker({ dataDir, durableEnd: new SharedArrayBuffer(4) });
  try {
    for (let i = 0; i < 2; i++) await expect(worker.prove(offset(0))).rejects.toThrow(RangeError);
  } finally {
    await worker.close();
    await rm(dataDir, { recursive: true, force: true });
  }
});
