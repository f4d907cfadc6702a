// What is signed when a gateway's policy or key changes: the texts of both statements, strictly. Their signatures are
// note.ts's, what they are worth epochs.ts's business.
import { fromBase64Sized, toBase64 } from './base64.ts';
import { parseDecimal } from './decimal.ts';
import { FormatError } from './errors.ts';
import { equalBytes, HASH_BYTES } from './hash.ts';
import { formatVerifierKey, parseVerifierKey, SIGNATURE_TYPE, type VerifierKey } from './note.ts';
import { policyHash } from './policy.ts';
import { isKeyName } from './text.ts';

/*
 * policy statement = "tidemark/policy/v1" LF
 *                    "origin " name LF
 *                    "epoch " decimal LF                 1 and on
 *                    "previous " base64 LF               SHA-256 of the policy text in force before; of "" for none
 *                    "next " base64 LF                   SHA-256 of the text below
 *                    LF
 *                    policy text                          to the end; ends in LF
 * key statement    = "tidemark/key/v1" LF  "origin " name LF  "previous " key LF  "next " key LF
 *
 * The first two lines of a checkpoint are an origin and a number, so neither can be taken for one: authorities sign policy
 * statements in the form of cosignature/v1 with the key they cosign with.
 */
const POLICY_VERSION = 'tidemark/policy/v1';
const KEY_VERSION = 'tidemark/key/v1';
/** A block must have room for the statement with its signatures. */
export const MAX_EPOCH_POLICY_BYTES = 32 * 1024;

export interface PolicyStatement {
  readonly origin: string;
  /** 1 for the first policy of a chain. */
  readonly epoch: number;
  /** Hash of the policy in force before; of the empty text for none. */
  readonly previous: Uint8Array;
  readonly text: string;
}

export interface KeyStatement {
  readonly origin: string;
  readonly previous: VerifierKey;
  readonly next: VerifierKey;
}

export function formatPolicyStatement({ origin, epoch, previous, text }: PolicyStatement): string {
  const head = [POLICY_VERSION, `origin ${origin}`, `epoch ${epoch}`, `previous ${toBase64(previous)}`];
  const statement = `${[...head, `next ${toBase64(policyHash(text))}`].join('\n')}\n\n${text}`;
  parsePolicyStatement(statement);
  return statement;
}

/** Throws STATEMENT_INVALID. Whether the text is a policy is not asked here. */
export function parsePolicyStatement(statement: string): PolicyStatement {
  const divide = statement.indexOf('\n\n');
  if (divide < 0) throw invalid('a policy statement has no empty line');
  const [origin, epoch, previous, next] = fieldsOf(statement.slice(0, divide), POLICY_VERSION, [
    'origin',
    'epoch',
    'previous',
    'next',
  ]);
  const text = statement.slice(divide + 2);
  if (text.length > MAX_EPOCH_POLICY_BYTES || !text.endsWith('\n'))
    throw invalid(`a policy has at most ${MAX_EPOCH_POLICY_BYTES} bytes and ends in LF`);
  if (!isKeyName(origin!)) throw invalid('the origin is not a key name');
  const number = parseDecimal(epoch!, 'epoch', 'STATEMENT_INVALID');
  if (number < 1) throw invalid('epochs of policies begin at 1');
  if (!equalBytes(policyHash(text), hashOf(next!)))
    throw invalid('the hash is not that of the policy below it');
  return { origin: origin!, epoch: number, previous: hashOf(previous!), text };
}

export function formatKeyStatement({ origin, previous, next }: KeyStatement): string {
  const statement = `${KEY_VERSION}\norigin ${origin}\nprevious ${formatVerifierKey(previous)}\nnext ${formatVerifierKey(next)}\n`;
  parseKeyStatement(statement);
  return statement;
}

/** Throws STATEMENT_INVALID, KEY_INVALID. */
export function parseKeyStatement(statement: string): KeyStatement {
  if (!statement.endsWith('\n')) throw invalid('a key statement ends in LF');
  const [origin, previous, next] = fieldsOf(statement.slice(0, -1), KEY_VERSION, [
    'origin',
    'previous',
    'next',
  ]);
  const keys = [parseVerifierKey(previous!), parseVerifierKey(next!)] as const;
  if (keys.some((key) => key.type !== SIGNATURE_TYPE.ed25519 || key.name !== origin))
    throw invalid('a key is not of this gateway');
  if (equalBytes(keys[0].publicKey, keys[1].publicKey)) throw invalid('the next key is the one before');
  return { origin: origin!, previous: keys[0], next: keys[1] };
}

function fieldsOf(text: string, version: string, names: readonly string[]): string[] {
  const [first, ...lines] = text.split('\n');
  if (first !== version) throw invalid(`is not ${version}`);
  if (lines.length !== names.length) throw invalid(`${version} has ${names.length} fields`);
  return lines.map((line, i) => {
    if (!line.startsWith(`${names[i]} `)) throw invalid(`${version}: field ${i + 1} is ${names[i]}`);
    return line.slice(names[i]!.length + 1);
  });
}

function hashOf(text: string): Uint8Array {
  return fromBase64Sized(text, HASH_BYTES, 'hash', 'STATEMENT_INVALID');
}

function invalid(message: string): FormatError {
  return new FormatError('STATEMENT_INVALID', message);
}
