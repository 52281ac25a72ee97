/** The errors of the engine, with a type for programs and a message for visitors. */

/**
 * @typedef {"network" | "not-found" | "truncated" | "hash-mismatch" | "wrong-weights" | "unsupported-weights" |
 *   "not-an-image" | "image-too-large" | "no-webassembly" | "worker" | "device" | "out-of-memory" | "aborted" |
 *   "too-few-pictures" | "settings" | "diverged"} ErrorType
 */

export class EngineError extends Error {
  /**
   * @param {ErrorType} type stable; programs may rely on it
   * @param {string} message a message for visitors that says what to do
   */
  constructor(type, message) {
    super(message);
    this.name = type === "aborted" ? "AbortError" : "EngineError";
    this.type = type;
  }
}

/** The error of a request that was aborted by its caller or replaced by a newer one. */
export const aborted = () => new EngineError("aborted", "No longer needed.");

/**
 * Converts any thrown value to an EngineError. Errors of the wasm modules have a `type` already.
 * @param {any} error
 * @param {ErrorType} [type] the type if the error has none
 */
export function engineError(error, type = "worker") {
  if (error instanceof EngineError) return error;
  if (error?.name === "AbortError") return aborted();
  return new EngineError(error?.type ?? type, String(error?.message ?? error));
}
