/** Weights that change while a page shows them: those of a training, or of a run that is watched. */

/**
 * The newest weights, as the content of a file that `densecl` reads. `<dense-match>` takes such an object as its
 * property `weights`, and compares its pictures again after each event `change`; while it still computes, it skips
 * weights that were replaced in the meantime.
 */
export class LiveWeights extends EventTarget {
  /** The newest weights; null while there are none. */
  readonly current: Blob | null;
  /** Replaces them and sends the event `change`. */
  replace(weights: Blob | null): void;

  addEventListener(
    type: "change",
    listener: (this: LiveWeights, event: Event) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}
