/** The engine behind `<dense-match>`: a client of one Web Worker that runs the network, shared by a whole page. */

/** Rows and columns of a feature map that covers its picture. */
export type Grid = [rows: number, columns: number];

/** A position in a picture: [u, v] in [0, 1], x to the right, y down. */
export type Position = [u: number, v: number];

export type Feature = "stage3" | "stage4" | "stage3+stage4" | "dense";
export type Stride = 8 | 16 | 32;

export interface DeviceInfo {
  /** `software` is a software implementation of WebGPU, without a GPU. */
  kind: "gpu" | "software" | "cpu";
  /** The adapter's name. */
  name: string;
  /** Why this device was chosen, in one line. */
  reason: string;
  selfTestMs: number;
}

/** Progress of loading all files together: the WebAssembly module and the weights. */
export interface ProgressDetail {
  /** Bytes loaded so far. */
  loaded: number;
  /** Bytes of all files. */
  total: number;
  /** Fraction loaded, in [0, 1]; it never decreases while files load. */
  fraction: number;
  /** Whether all files loaded so far came from the browser's cache. */
  cached: boolean;
}

/** The types of errors. They are stable: programs may rely on them. */
export type ErrorType =
  | "network"
  | "not-found"
  | "truncated"
  | "hash-mismatch"
  | "wrong-weights"
  | "unsupported-weights"
  | "not-an-image"
  | "image-too-large"
  | "no-webassembly"
  | "worker"
  | "device"
  | "out-of-memory"
  | "aborted"
  /** Of a training: fewer than 16 pictures; settings that do not fit; a loss that is not finite. */
  | "too-few-pictures"
  | "settings"
  | "diverged";

/**
 * An error of the engine. `message` is written for visitors and says what to do. An error of type `aborted` has the
 * name `AbortError`.
 */
export class EngineError extends Error {
  constructor(type: ErrorType, message: string);
  readonly type: ErrorType;
}

/** URL of a `manifest.json`, `.safetensors` or `.pth` file, the content of such a file, or random weights. */
export type WeightsSource = string | URL | Blob | ArrayBuffer | "untrained" | `untrained:${number}`;

export type PictureSource = string | URL | Blob | ImageBitmap | ImageData | HTMLImageElement;

export interface WeightsInfo {
  backbone: string;
  width: number;
  /** The output stride in training, in pixels. */
  output_stride: number;
  dim: number;
  steps: number;
  data: string;
  method: string;
  parameters: number;
}

export interface Weights {
  readonly id: string;
  readonly name: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly cached: boolean;
  readonly info: WeightsInfo;
}

export interface Picture {
  readonly id: number;
  /** Size of the network's input in pixels; both sides are multiples of 32. */
  readonly width: number;
  readonly height: number;
  readonly naturalWidth: number;
  readonly naturalHeight: number;
  /** The network's input, `width` × `height` pixels. */
  readonly bitmap: ImageBitmap;
  /** The picture for drawing. Its longer side has 1024 pixels, or fewer if the picture is smaller. */
  readonly preview: ImageBitmap;
}

/** The true position in picture B of each point of picture A; its content is not public. */
export interface Truth {}

export interface Found {
  /** Number of the cell of A, row by row. */
  cell: number;
  /** Cosine similarity with every cell of B, row-major. */
  row: Float32Array;
  /** Number of the most similar cell of B. */
  best: number;
  /** Position of the similarity's peak around that cell, interpolated between cells. */
  point: Position;
  /** Cosine similarity of the two cells, in [-1, 1]. */
  score: number;
  /** The true position in B; null where it is unknown or the point is hidden. */
  truth: Position | null;
  /** Distance of `point` from `truth`, in pixels of the network's input. */
  error: number | null;
}

export interface Mutual {
  a: Position;
  b: Position;
  score: number;
  cellA: number;
  cellB: number;
  /** Whether the cell of B lies within one cell of the true position; null without truth. */
  correct: boolean | null;
  /**
   * Whether one of the cells is at the border of its picture. Zero padding makes such cells alike whatever they show,
   * so the element and the demo page leave these matches out.
   */
  atBorder: boolean;
}

export interface Accuracy {
  /** `pck05` and `pck10`: share of the cells with an error of at most 0.05 and 0.1 of the longer side of B. */
  pck05: number;
  pck10: number;
  /** Mean error in pixels of the network's input. */
  meanError: number;
  /** Number of cells whose true position is known and visible. */
  cells: number;
}

/** Two compared pictures. */
export class Pair {
  private constructor();
  readonly weights: Weights;
  readonly feature: Feature;
  readonly stride: Stride;
  readonly gridA: Grid;
  readonly gridB: Grid;
  /** Milliseconds that the network took for both pictures, and the comparison of all cells. */
  readonly ms: { features: number; similarity: number };
  readonly device: DeviceInfo;
  /** The match of a cell of A. A newer call makes an older one that still waits reject with an AbortError. */
  match(cell: number): Promise<Found>;
  /**
   * The mutual nearest neighbours with a similarity of at least `threshold`, most similar first; those at the border of a
   * picture, too.
   */
  matches(threshold: number): Promise<Mutual[]>;
  /** Colours of the cells of both feature maps by a joint PCA: four bytes (RGBA) per cell. */
  pca(): Promise<{ a: Uint8ClampedArray; b: Uint8ClampedArray }>;
  /** The errors of the matches of all cells; null without truth. */
  accuracy(): Promise<Accuracy | null>;
  dispose(): void;
}

export interface EngineEventMap {
  progress: CustomEvent<ProgressDetail>;
  devicechange: CustomEvent<DeviceInfo>;
}

export class Engine extends EventTarget {
  private constructor();
  /** Resolves when the device has passed its self-test. Rejects (EngineError) if not even the CPU module starts. */
  readonly ready: Promise<DeviceInfo>;
  readonly device: DeviceInfo | null;
  /** Loads weights. A source that was loaded before is not loaded again. */
  weights(source: WeightsSource, options?: { signal?: AbortSignal }): Promise<Weights>;
  /** Decodes a picture over white and resizes it: the longer side becomes about `size` pixels (default 224). */
  picture(source: PictureSource, options?: { size?: number; signal?: AbortSignal }): Promise<Picture>;
  /** Renders a scene from two viewpoints. */
  scene(options?: {
    seed?: number;
    index?: number;
    size?: number;
    baseline?: number;
    signal?: AbortSignal;
  }): Promise<{ a: Picture; b: Picture; truth: Truth }>;
  /** Warps a picture by a random homography and changes its brightness and contrast. */
  warp(picture: Picture, options?: { seed?: number; signal?: AbortSignal }): Promise<{ b: Picture; truth: Truth }>;
  /** Runs the network on two pictures. A newer call with the same `key` makes an older one reject (AbortError). */
  pair(
    a: Picture,
    b: Picture,
    options: {
      weights: Weights;
      feature?: Feature;
      stride?: Stride;
      truth?: Truth | null;
      signal?: AbortSignal;
      key?: string;
    },
  ): Promise<Pair>;
  addEventListener<K extends keyof EngineEventMap>(
    type: K,
    listener: (this: Engine, event: EngineEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** The engine for these URLs and this device. Within a page, the same options give the same engine. */
export function engine(options?: {
  /** URL of worker.js; by default the one next to this module. */
  workerUrl?: string | URL;
  /** URL of the folder of the densecl_*.wasm files; by default that of this module. */
  wasmUrl?: string | URL;
  device?: "auto" | "gpu" | "cpu";
}): Engine;

/** The number of the cell that contains a position. */
export function cellAt(grid: Grid, u: number, v: number): number;
/** The position of a cell's centre. */
export function centre(grid: Grid, cell: number): Position;
