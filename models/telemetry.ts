// Owns that onnxruntime reports to nobody. Since 1.29 its Linux and macOS builds tell their maker about every process, session
// and model over HTTPS, with a device id they keep in the home folder, unless this variable is set before it is loaded.
import { isMainThread } from 'node:worker_threads';

const SWITCH = 'ORT_DISABLE_TELEMETRY';

/**
 * Call in the main thread before a worker that runs models is started: a worker changes only its own copy of the environment,
 * which onnxruntime does not read.
 * @throws Error in a worker of a process that did not
 */
export function withoutTelemetry(): void {
  if (isMainThread) process.env[SWITCH] = '1';
  else if (process.env[SWITCH] !== '1')
    throw new Error(`onnxruntime would report to its maker: ${SWITCH} is not set`);
}
