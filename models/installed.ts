// Owns the question whether onnxruntime-node is there at all: an optional package, because its install script fetches GPU
// parts and fails where it cannot reach them. Refuses to load it, which takes 45 MB.
import { ModelError } from './registry.ts';

export const HOW_TO_INSTALL =
  'install tidemark again with ONNXRUNTIME_NODE_INSTALL=skip in the environment, or set models: []';

/** Call before a worker that runs models is started. @throws ModelError MODEL_RUNTIME_MISSING */
export function expectRuntime(): void {
  try {
    import.meta.resolve('onnxruntime-node');
  } catch (cause) {
    throw new ModelError(
      'MODEL_RUNTIME_MISSING',
      'models are configured, and onnxruntime-node is not installed',
      {
        cause,
        hint: HOW_TO_INSTALL,
      },
    );
  }
}
