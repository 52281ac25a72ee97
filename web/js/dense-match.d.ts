/** `<dense-match>` finds the places in two pictures that show the same thing. Importing this module defines it. */

import type { DeviceInfo, ErrorType, Feature, PictureSource, ProgressDetail, Stride, WeightsSource } from "./engine.js";
import type { LiveWeights } from "./live-weights.js";

export type { DeviceInfo, ErrorType, Feature, ProgressDetail, Stride } from "./engine.js";

export type View = "heatmap" | "matches" | "pca";
export type Loading = "auto" | "lazy" | "eager";

/** A position in pixels of a picture in its natural size. */
export interface PixelPosition {
  x: number;
  y: number;
}

export interface DenseMatchPair {
  /** The centre, in picture A, of the grid cell that was matched. */
  point: PixelPosition;
  /** The match in picture B, interpolated between the cells of the grid. */
  position: PixelPosition;
  /** Cosine similarity, in [-1, 1]. */
  score: number;
}

export interface DenseMatchDetail extends DenseMatchPair {
  /** Whether the visitor has pinned this point. */
  pinned: boolean;
}

export interface DenseMatchErrorDetail {
  type: ErrorType;
  /** A message for visitors, which the element shows, too. */
  message: string;
}

export interface DenseMatchEventMap {
  load: CustomEvent<null>;
  progress: CustomEvent<ProgressDetail>;
  match: CustomEvent<DenseMatchDetail>;
  error: CustomEvent<DenseMatchErrorDetail>;
  devicechange: CustomEvent<DeviceInfo>;
}

export interface DenseMatch extends HTMLElement {
  /** URL of picture A, or the picture itself. An object is not reflected in the attribute. */
  get srcA(): PictureSource;
  set srcA(value: PictureSource | null);
  get srcB(): PictureSource;
  set srcB(value: PictureSource | null);
  /**
   * URL or content of the weights, or weights that change; if empty, the weights of the package. Of weights that change,
   * each change compares the pictures anew and sends `load`; the point stays.
   */
  get weights(): WeightsSource | LiveWeights;
  set weights(value: WeightsSource | LiveWeights | null);
  get view(): View;
  set view(value: View | null);
  get feature(): Feature;
  set feature(value: Feature | null);
  get stride(): Stride;
  set stride(value: Stride | null);
  /** Smallest similarity in the match view and in `matches()`, in [-1, 1]; default 0.9. */
  get threshold(): number;
  set threshold(value: number | null);
  /**
   * Whether the match view and `matches()` have the matches at the border of a picture, too; default false. Zero padding
   * makes cells there alike whatever they show.
   */
  get borderMatches(): boolean;
  set borderMatches(value: boolean | null);
  /** Longer side of the network's input in pixels; default 224. */
  get size(): number;
  set size(value: number | null);
  get loading(): Loading;
  set loading(value: Loading | null);
  get wasmUrl(): string;
  set wasmUrl(value: string | URL | null);
  get workerUrl(): string;
  set workerUrl(value: string | URL | null);
  get poster(): string;
  set poster(value: string | URL | null);

  /** Whether the comparison for the current attributes is shown. */
  readonly loaded: boolean;
  /** The device that computes; null before it is known. */
  readonly device: DeviceInfo | null;

  /**
   * Finds and shows the match of a point of picture A, in pixels of its natural size. Loads missing inputs first.
   * Rejects with an EngineError, with a RangeError if the point lies outside the picture, or with a DOMException if
   * there are no pictures to load.
   */
  match(x: number, y: number): Promise<DenseMatchPair>;
  /**
   * The mutual nearest neighbours with a similarity of at least `threshold`, most similar first; those at the border
   * only with `borderMatches`. If it is called with a CSS selector, it does what `Element.matches` does: it returns
   * whether the element matches the selector.
   */
  matches: (() => Promise<DenseMatchPair[]>) & HTMLElement["matches"];
  /** The current view as a picture file, `width` pixels wide (default 1200). */
  toBlob(options?: { type?: string; quality?: number; width?: number }): Promise<Blob>;

  addEventListener<K extends keyof DenseMatchEventMap>(
    type: K,
    listener: (this: DenseMatch, event: DenseMatchEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener<K extends keyof HTMLElementEventMap>(
    type: K,
    listener: (this: DenseMatch, event: HTMLElementEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

export const DenseMatch: {
  new (): DenseMatch;
  prototype: DenseMatch;
  readonly observedAttributes: string[];
};

declare global {
  interface HTMLElementTagNameMap {
    "dense-match": DenseMatch;
  }
}
