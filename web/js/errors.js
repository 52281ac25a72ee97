/** What can go wrong, with a type for programs and words for visitors. */

/**
 * @typedef {"network" | "not-found" | "truncated" | "hash-mismatch" | "wrong-weights" | "unsupported-weights" |
 *   "not-an-image" | "image-too-large" | "no-webassembly" | "worker" | "device" | "out-of-memory" | "aborted"} ErrorType
 */

export class EngineError extends Error {
  /**
   * @param {ErrorType} type stable; programs may rely on it
   * @param {string} message words a visitor understands, with what to do about it
   */
  constructor(type, message) {
    super(message);
    this.name = type === "aborted" ? "AbortError" : "EngineError";
    this.type = type;
  }
}

/** The error of a request that a newer one, or its caller, has made pointless. */
export const aborted = () => new EngineError("aborted", "No longer needed.");

/**
 * Any thrown value as an EngineError. Errors of the wasm modules have a `type` of their own.
 * @param {any} error
 * @param {ErrorType} [type] for those that have none
 */
export function engineError(error, type = "worker") {
  if (error instanceof EngineError) return error;
  if (error?.name === "AbortError") return aborted();
  return new EngineError(error?.type ?? type, String(error?.message ?? error));
}
