// Owns what a model's sidecar file must say. Checked by hand: the library that checks the configuration would take 8 MiB
// in every model's thread.

export interface Tensor {
  readonly name: string;
  /** Of one inference: how many windows, and how many values each. */
  readonly shape: readonly ['batch', number];
  readonly type: 'float32';
}

export interface ModelSidecar {
  readonly name: string;
  readonly version: string;
  readonly kind: 'forecaster';
  readonly file: string;
  readonly sha256: string;
  readonly input: Tensor;
  readonly output: Tensor;
  /** Values in one window. */
  readonly seriesLength: number;
  /** What each output is called, in order. */
  readonly channels: readonly string[];
  /** Usual size of each output on normal series, where a new series' calibration begins. */
  readonly spread: readonly number[];
  /** Recommended score from which a record is an anomaly. */
  readonly threshold: number;
}

const VALUES_MAX = 4096;
const CHANNELS_MAX = 16;

const isText = (value: unknown): value is string => typeof value === 'string';
const isPositive = (value: unknown): value is number => Number.isFinite(value) && (value as number) > 0;
const isCount = (value: unknown, min: number) =>
  Number.isInteger(value) && (value as number) >= min && (value as number) <= VALUES_MAX;

const isTensor = (value: unknown): value is Tensor => {
  const { name, shape, type } = (value ?? {}) as Partial<Record<keyof Tensor, unknown>>;
  if (!isText(name) || type !== 'float32' || !Array.isArray(shape)) return false;
  return shape.length === 2 && shape[0] === 'batch' && isCount(shape[1], 1);
};

const isListOf = <T>(value: unknown, isItem: (item: unknown) => item is T): value is T[] =>
  Array.isArray(value) && value.every(isItem);

const CHECKS: { readonly [Field in keyof ModelSidecar]: readonly [(value: unknown) => boolean, string] } = {
  name: [isText, 'must be a text'],
  version: [isText, 'must be a text'],
  kind: [(value) => value === 'forecaster', 'must be forecaster'],
  file: [(value) => isText(value) && /^[a-z0-9-]+\.onnx$/.test(value), 'must name an .onnx file'],
  sha256: [(value) => isText(value) && /^[0-9a-f]{64}$/.test(value), 'must be 64 hex digits'],
  input: [isTensor, 'must be a float32 tensor ["batch", n]'],
  output: [isTensor, 'must be a float32 tensor ["batch", n]'],
  seriesLength: [(value) => isCount(value, 8), `must be a whole number from 8 to ${VALUES_MAX}`],
  channels: [
    (value) => isListOf(value, isText) && value.length >= 1 && value.length <= CHANNELS_MAX,
    `must be 1 to ${CHANNELS_MAX} texts`,
  ],
  spread: [(value) => isListOf(value, isPositive), 'must be positive numbers'],
  threshold: [isPositive, 'must be a positive number'],
};

/** The sidecar, or what is wrong with it. What else stands in it is for people. */
export function readSidecar(text: string): ModelSidecar | { readonly problem: string } {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: 'is no JSON' };
  }
  if (typeof value !== 'object' || value === null) return { problem: 'is no object' };
  for (const [field, [isRight, otherwise]] of Object.entries(CHECKS))
    if (!isRight(value[field])) return { problem: `${field} ${otherwise}` };
  const sidecar = value as unknown as ModelSidecar;
  const { input, output, seriesLength, channels, spread } = sidecar;
  if (input.shape[1] !== seriesLength) return { problem: 'input shape and seriesLength differ' };
  if (output.shape[1] !== channels.length || spread.length !== channels.length)
    return { problem: 'output shape, channels and spread differ in length' };
  return sidecar;
}
