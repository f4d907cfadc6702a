// Owns finding a shipped model and checking that it is what its sidecar says. Refuses a model whose bytes, input or
// outputs differ from it: a score from the wrong file would be believed.
import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { CodedError } from '../ledger/format/errors.ts';
import { type ModelSidecar, readSidecar } from './sidecar.ts';

export type ModelErrorCode =
  | 'MODEL_UNKNOWN' // no such model is shipped
  | 'MODEL_SIDECAR' // the sidecar is not what this version reads
  | 'MODEL_CHANGED' // the .onnx file is not the one the sidecar describes
  | 'MODEL_RUNTIME_MISSING' // onnxruntime-node was not installed: its install script failed, or optional packages are left out
  | 'MODEL_OUTPUT'; // it loaded or answered otherwise than the sidecar says

export class ModelError extends CodedError<ModelErrorCode> {
  override name = 'ModelError';
}

export interface ShippedModel {
  readonly sidecar: ModelSidecar;
  /** The .onnx file's bytes, matching the sidecar's hash. */
  readonly bytes: Uint8Array;
}

const SHIPPED = new URL('./onnx/', import.meta.url);

/** Reads `<name>.json` and the .onnx file it names, from `folder` (the shipped models). Throws ModelError. */
export async function loadModel(name: string, folder: URL = SHIPPED): Promise<ShippedModel> {
  if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(name)) throw unknown(name);
  const text = await readFile(new URL(`${name}.json`, folder), 'utf8').catch((cause: unknown) => {
    throw unknown(name, cause);
  });
  const sidecar = readSidecar(text);
  if ('problem' in sidecar) {
    throw new ModelError('MODEL_SIDECAR', `${name}.json is no description this version reads`, {
      facts: { model: name, problem: sidecar.problem },
    });
  }
  const bytes = new Uint8Array(await readFile(new URL(sidecar.file, folder)));
  const actual = hash('sha256', bytes, 'hex');
  if (actual !== sidecar.sha256) {
    throw new ModelError('MODEL_CHANGED', `${sidecar.file} is not the file ${name}.json describes`, {
      facts: { model: name, expected: sidecar.sha256, actual },
      hint: 'install tidemark again, or write a new sidecar for a model of your own',
    });
  }
  return { sidecar, bytes };
}

function unknown(name: string, cause?: unknown): ModelError {
  return new ModelError('MODEL_UNKNOWN', `there is no model named ${name}`, {
    facts: { model: name },
    cause,
  });
}
