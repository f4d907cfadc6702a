// The page that verifies proof files and can be saved: reads what it is given, shows what the verifier says. Asks nobody
// anything and stores nothing.
import { toHex } from '../../../ledger/format/hash.ts';
import { parseVerifierKey } from '../../../ledger/format/note.ts';
import { policyHash } from '../../../ledger/format/policy.ts';
import { type VerifyReport, verifyProof } from '../../../ledger/verify/index.ts';

const MAX_FILE_BYTES = 64 * 1024 * 1024;

const VERDICTS: Readonly<Record<VerifyReport['status'], string>> = {
  final: 'Valid and final: the policy’s quorum has cosigned',
  pending: 'Valid, not final yet: the policy’s quorum has not cosigned',
  'signed-by-gateway-only': 'Valid, signed by this gateway alone',
  'integrity-only': 'Not decided: the parts fit together, but no key was given to check a signature with',
  invalid: 'Not valid',
  unusable: 'This cannot be read',
};

const OTHER_EPOCH =
  'Policies and gateway keys change. With the state file of an audit, “tidemark verify --state” judges a proof by what was in force at its checkpoint.';

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const proof = element<HTMLTextAreaElement>('proof');
const trust = element<HTMLTextAreaElement>('trust');
const result = element('result');

function make(tag: string, text: string, name = ''): HTMLElement {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = name;
  return made;
}

/** A single line is a key, anything else a policy. */
function trusted(text: string): { readonly gatewayKey?: string; readonly policy?: string } {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const [only] = lines;
  if (only === undefined) return {};
  if (lines.length === 1 && !/^(log|witness|group|quorum)\s/.test(only)) {
    const gatewayKey = only.trim();
    parseVerifierKey(gatewayKey);
    return { gatewayKey };
  }
  return { policy: text.endsWith('\n') ? text : `${text}\n` };
}

function show(): void {
  const began = performance.now();
  let report: VerifyReport;
  let given: ReturnType<typeof trusted>;
  try {
    given = trusted(trust.value);
    report = verifyProof(proof.value, given);
  } catch (error) {
    result.replaceChildren(make('p', `The key cannot be read: ${(error as Error).message}`, 'verdict bad'));
    return;
  }
  const tookMs = performance.now() - began;
  const isGood = report.valid && report.trust !== 'none';
  const verdict = make('p', VERDICTS[report.status], `verdict ${isGood ? 'ok' : 'bad'}`);
  verdict.id = 'verdict';
  verdict.dataset.status = report.status;
  const steps = document.createElement('ol');
  for (const { name, ok, detail } of report.steps) {
    const item = make('li', '', ok === true ? 'ok' : ok === false ? 'bad' : 'muted');
    item.dataset.ok = String(ok);
    const mark = ok === true ? '✓' : ok === false ? '✗' : '–';
    item.append(make('b', `${mark} ${name} `), make('span', detail));
    steps.append(item);
  }
  const hint = mayBeOfAnotherEpoch(report, given) ? [make('p', OTHER_EPOCH, 'muted')] : [];
  const problem = report.problem ? [make('p', report.problem.message, 'bad')] : [];
  result.replaceChildren(
    verdict,
    ...problem,
    steps,
    ...hint,
    facts(report),
    make('p', `checked in ${tookMs.toFixed(1)} ms`, 'muted'),
  );
}

/** As a proof of another epoch looks to who holds the policy or the key of this one. */
function mayBeOfAnotherEpoch(
  { status, steps, block }: VerifyReport,
  { policy }: ReturnType<typeof trusted>,
): boolean {
  if (status === 'invalid') return steps.find(({ ok }) => ok === false)?.name === 'gateway signature';
  return (
    status === 'pending' &&
    block !== null &&
    policy !== undefined &&
    toHex(policyHash(policy)) !== block.policyHash
  );
}

const time = (ms: number | null | undefined) =>
  ms === null || ms === undefined || Math.abs(ms) > 8.64e15 ? '–' : new Date(ms).toISOString();

function facts({ record, range, block, checkpoint, times }: VerifyReport): HTMLElement {
  const list = document.createElement('dl');
  const say = (name: string, value: string) => list.append(make('dt', name), make('dd', value));
  if (record) {
    say('offset', String(record.offset));
    say('topic', record.topic);
    if (record.device) say('device', record.device);
    say('received', time(record.receivedMs));
    say('payload', payloadOf());
  }
  if (range) {
    say('offsets', `${range.first} to ${range.last}`);
    say(
      'records',
      `${range.records} shown, ${range.removed} removed by retention, ${range.lost} declared lost`,
    );
  }
  if (block) say('block', `${block.height}, ${block.count} records from offset ${block.first}`);
  if (checkpoint) say('checkpoint', `${checkpoint.origin}, ${checkpoint.size} blocks`);
  if (times.sealedMs !== null) say('sealed', `${time(times.sealedMs)} by the gateway’s clock`);
  if (times.existedByMs !== null) say('existed by', `${time(times.existedByMs)} by the authorities’ clocks`);
  return list;
}

function payloadOf(): string {
  try {
    const { record } = JSON.parse(proof.value) as { record: { payload: string } };
    const bytes = Uint8Array.from(atob(record.payload), (char) => char.charCodeAt(0));
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes).slice(0, 2_000);
  } catch {
    return 'not text';
  }
}

async function take(file: File | undefined, target: HTMLTextAreaElement): Promise<void> {
  if (!file) return;
  if (file.size > MAX_FILE_BYTES) {
    result.replaceChildren(make('p', `${file.name} is larger than 64 MiB`, 'verdict bad'));
    return;
  }
  target.value = await file.text();
  if (proof.value !== '') show();
}

for (const [id, target] of [
  ['proof-file', proof],
  ['trust-file', trust],
] as const) {
  const input = element<HTMLInputElement>(id);
  input.addEventListener('change', () => void take(input.files?.[0], target));
}
element('verify').addEventListener('click', show);
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', async (event) => {
  event.preventDefault();
  for (const file of event.dataTransfer?.files ?? [])
    await take(file, file.name.endsWith('.json') ? proof : trust);
});
