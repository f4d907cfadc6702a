// Owns the ONNX session: many windows in, deviations out, one thread. Refuses to interpret what comes out.
import { HOW_TO_INSTALL } from './installed.ts';
import { ModelError, type ShippedModel } from './registry.ts';
import { withoutTelemetry } from './telemetry.ts';

/** Windows of one run. Larger batches gain little (see the benchmark notes), smaller runs are filled up to it. */
export const BATCH = 32;

export interface Runtime {
  /**
   * Deviations of each window, `channels` numbers per window. `windows` holds 1..BATCH windows of `seriesLength`
   * float32 values, one after another. A window's answer does not depend on what else is in the batch: every run
   * has exactly BATCH rows, so the same kernels add in the same order (a replay batches differently).
   */
  run(windows: Float32Array): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Loads onnxruntime (some 45 MB of memory) with the first windows, for a gateway may never see a series worth scoring. */
export function lazyRuntime(model: ShippedModel): Runtime {
  let opened: Promise<Runtime> | null = null;
  return {
    run: async (windows) => {
      opened ??= openRuntime(model);
      return (await opened).run(windows);
    },
    close: async () => (await opened?.catch(() => null))?.close(),
  };
}

export async function openRuntime(model: ShippedModel): Promise<Runtime> {
  const { sidecar, bytes } = model;
  withoutTelemetry();
  const { InferenceSession, Tensor } = await import('onnxruntime-node').catch((cause: unknown) => {
    throw new ModelError('MODEL_RUNTIME_MISSING', 'onnxruntime-node cannot be loaded, so no model can run', {
      cause,
      hint: HOW_TO_INSTALL,
    });
  });
  const channels = sidecar.channels.length;
  const session = await InferenceSession.create(bytes, {
    executionProviders: ['cpu'],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    // Tensors of one small batch: an arena that keeps what it once had gains nothing.
    enableCpuMemArena: false,
    enableMemPattern: false,
    logSeverityLevel: 3,
  });
  if (
    !session.inputNames.includes(sidecar.input.name) ||
    !session.outputNames.includes(sidecar.output.name)
  ) {
    throw new ModelError(
      'MODEL_OUTPUT',
      `${sidecar.file} has other inputs or outputs than its sidecar says`,
      {
        facts: { inputs: session.inputNames.join(), outputs: session.outputNames.join() },
      },
    );
  }
  const rows = new Float32Array(BATCH * sidecar.seriesLength);
  const input = new Tensor('float32', rows, [BATCH, sidecar.seriesLength]);
  return {
    async run(windows) {
      if (windows.length > rows.length || windows.length % sidecar.seriesLength !== 0) {
        throw new RangeError(
          `${windows.length} values are not 1 to ${BATCH} windows of ${sidecar.seriesLength}`,
        );
      }
      rows.set(windows);
      rows.fill(0, windows.length);
      const outputs = await session.run({ [sidecar.input.name]: input }, [sidecar.output.name]);
      const data = outputs[sidecar.output.name]?.data;
      if (!(data instanceof Float32Array) || data.length !== BATCH * channels) {
        throw new ModelError(
          'MODEL_OUTPUT',
          `${sidecar.file} answered in another shape than its sidecar says`,
        );
      }
      return data.subarray(0, (windows.length / sidecar.seriesLength) * channels);
    },
    close: () => session.release(),
  };
}
