/** `<dense-match>`: where two pictures show the same thing. Importing this module defines the element. */

import type { DeviceInfo, ErrorType, Feature, PictureSource, ProgressDetail, Stride, WeightsSource } from "./engine.js";

export type { DeviceInfo, ErrorType, Feature, ProgressDetail, Stride } from "./engine.js";

export type View = "heatmap" | "matches" | "pca";
export type Loading = "auto" | "lazy" | "eager";

/** Pixels of a picture in its natural size. */
export interface PixelPosition {
  x: number;
  y: number;
}

export interface DenseMatchPair {
  /** In picture A: the centre of the grid cell asked for. */
  point: PixelPosition;
  /** Its match in picture B, between the cells of the grid. */
  position: PixelPosition;
  /** Cosine similarity, in [-1, 1]. */
  score: number;
}

export interface DenseMatchDetail extends DenseMatchPair {
  /** Whether the visitor holds this point. */
  pinned: boolean;
}

export interface DenseMatchErrorDetail {
  type: ErrorType;
  /** Words that a visitor understands; the element shows them too. */
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
  /** Address of picture A, or the picture itself; an object is not reflected. */
  get srcA(): PictureSource;
  set srcA(value: PictureSource | URL | null);
  get srcB(): PictureSource;
  set srcB(value: PictureSource | URL | null);
  /** Empty: the weights of the package. */
  get weights(): WeightsSource;
  set weights(value: WeightsSource | URL | null);
  get view(): View;
  set view(value: View | null);
  get feature(): Feature;
  set feature(value: Feature | null);
  get stride(): Stride;
  set stride(value: Stride | null);
  /** Least similarity of the match view and of `matches()`, in [-1, 1]; default 0.9. */
  get threshold(): number;
  set threshold(value: number | null);
  /** Longer side of the pictures as the network sees them, in pixels; default 224. */
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

  /** Whether the comparison that the attributes ask for is shown. */
  readonly loaded: boolean;
  /** What computes; null before that is known. */
  readonly device: DeviceInfo | null;

  /**
   * Finds and shows the match of a point of picture A, in pixels of its natural size. Loads what is missing first.
   * Rejects with an EngineError, a RangeError outside the picture, or a DOMException where there is nothing to load.
   */
  match(x: number, y: number): Promise<DenseMatchPair>;
  /** All mutual nearest neighbours at least `threshold` similar, best first; with a selector, `Element.matches`. */
  matches: (() => Promise<DenseMatchPair[]>) & HTMLElement["matches"];
  /** What is shown, as a picture file; `width` in pixels, default 1200. */
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
