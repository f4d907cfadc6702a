// Owns the question whether onnxruntime-node is there at all: an optional package, because its install script fetches GPU
// parts and fails where it cannot reach them. Refuses to load it, which takes 45 MB.
import type { ModelsConfig } from './config.ts';
import { ModelError } from './registry.ts';

export const HOW_TO_INSTALL =
  'install tidemark again with ONNXRUNTIME_NODE_INSTALL=skip in the environment, or set models: []';

function isInstalled(): boolean {
  try {
    import.meta.resolve('onnxruntime-node');
    return true;
  } catch {
    return false;
  }
}

/**
 * Those to start a worker for: without onnxruntime-node none, and `onLeftOut` hears it.
 * @throws ModelError MODEL_RUNTIME_MISSING for one that is not optional
 */
export function runnable(models: ModelsConfig, onLeftOut: (hint: string) => void): ModelsConfig {
  if (models.length === 0 || isInstalled()) return models;
  const needed = models.find(({ optional }) => !optional);
  if (needed) {
    throw new ModelError(
      'MODEL_RUNTIME_MISSING',
      `the model ${needed.name} is configured, and onnxruntime-node is not installed`,
      { hint: `${HOW_TO_INSTALL}, or give the model optional: true` },
    );
  }
  onLeftOut(HOW_TO_INSTALL);
  return [];
}
