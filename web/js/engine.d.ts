/** The engine behind `<dense-match>`: one Web Worker with the network, shared by all of a page. */

/** Rows and columns of a feature map that covers its picture. */
export type Grid = [rows: number, columns: number];

/** A position in a picture: [u, v] in [0, 1], x to the right, y down. */
export type Position = [u: number, v: number];

export type Feature = "stage3" | "stage4" | "stage3+stage4" | "dense";
export type Stride = 8 | 16 | 32;

export interface DeviceInfo {
  /** `software`: WebGPU without a GPU. */
  kind: "gpu" | "software" | "cpu";
  /** The adapter's name. */
  name: string;
  /** Why this one, in one line. */
  reason: string;
  selfTestMs: number;
}

/** Loading of all files together: the WebAssembly module and the weights. */
export interface ProgressDetail {
  /** Bytes. */
  loaded: number;
  /** Bytes. */
  total: number;
  /** In [0, 1]. */
  fraction: number;
  /** Whether what was loaded so far came from the browser's storage. */
  cached: boolean;
}

/** Stable: programs may rely on it. */
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
  | "aborted";

/** `message`: words that a visitor understands, with what to do about it. One of type `aborted` is named `AbortError`. */
export class EngineError extends Error {
  constructor(type: ErrorType, message: string);
  readonly type: ErrorType;
}

/** Address of a `manifest.json`, `.safetensors` or `.pth` file, such a file itself, or random weights. */
export type WeightsSource = string | URL | Blob | ArrayBuffer | "untrained" | `untrained:${number}`;

export type PictureSource = string | URL | Blob | ImageBitmap | ImageData | HTMLImageElement;

export interface WeightsInfo {
  backbone: string;
  width: number;
  /** The stride it was trained at. */
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
  /** Pixels as the network sees them: both multiples of 32. */
  readonly width: number;
  readonly height: number;
  readonly naturalWidth: number;
  readonly naturalHeight: number;
  /** `width` × `height`. */
  readonly bitmap: ImageBitmap;
  /** The same for drawing: up to 1024 pixels, where the picture has them. */
  readonly preview: ImageBitmap;
}

/** Where each point of picture A really is in B; opaque. */
export interface Truth {}

export interface Found {
  /** Cell of A. */
  cell: number;
  /** Cosine similarity with every cell of B, row-major. */
  row: Float32Array;
  /** Most similar cell of B. */
  best: number;
  /** The peak around it, between cells. */
  point: Position;
  /** Cosine similarity, in [-1, 1]. */
  score: number;
  /** Where it really is; null where that is unknown or hidden. */
  truth: Position | null;
  /** Distance of `point` from it, in pixels as the network sees them. */
  error: number | null;
}

export interface Mutual {
  a: Position;
  b: Position;
  score: number;
  cellA: number;
  cellB: number;
  /** Null without truth. */
  correct: boolean | null;
}

export interface Accuracy {
  /** Share of cells within 0.05, and within 0.1, of the longer side. */
  pck05: number;
  pck10: number;
  /** Pixels as the network sees them. */
  meanError: number;
  /** Cells with a truth. */
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
  /** Milliseconds of the network on both pictures, and of the comparison. */
  readonly ms: { features: number; similarity: number };
  readonly device: DeviceInfo;
  /** The match of a cell of A. A newer call makes the older one reject with an AbortError. */
  match(cell: number): Promise<Found>;
  /** Mutual nearest neighbours, best first. */
  matches(threshold: number): Promise<Mutual[]>;
  /** Colours of both feature maps in one common PCA: four bytes per cell. */
  pca(): Promise<{ a: Uint8ClampedArray; b: Uint8ClampedArray }>;
  /** Null without truth. */
  accuracy(): Promise<Accuracy | null>;
  dispose(): void;
}

export interface EngineEventMap {
  progress: CustomEvent<ProgressDetail>;
  devicechange: CustomEvent<DeviceInfo>;
}

export class Engine extends EventTarget {
  private constructor();
  /** Rejects with an EngineError only when not even the CPU module starts. */
  readonly ready: Promise<DeviceInfo>;
  readonly device: DeviceInfo | null;
  /** The same source twice is loaded once. */
  weights(source: WeightsSource, options?: { signal?: AbortSignal }): Promise<Weights>;
  /** Decoded, over white, its longer side `size` (default 224) pixels. */
  picture(source: PictureSource, options?: { size?: number; signal?: AbortSignal }): Promise<Picture>;
  /** A rendered scene from two viewpoints. */
  scene(options?: {
    seed?: number;
    index?: number;
    size?: number;
    baseline?: number;
    signal?: AbortSignal;
  }): Promise<{ a: Picture; b: Picture; truth: Truth }>;
  /** The picture under a random homography and other light. */
  warp(picture: Picture, options?: { seed?: number; signal?: AbortSignal }): Promise<{ b: Picture; truth: Truth }>;
  /** Runs the network. A newer call with the same `key` makes the older one reject with an AbortError. */
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

/** The page's engine for these addresses and this device; the same options give the same engine. */
export function engine(options?: {
  /** The module worker.js; by default the one beside this module. */
  workerUrl?: string | URL;
  /** The folder of the densecl_*.wasm files. */
  wasmUrl?: string | URL;
  device?: "auto" | "gpu" | "cpu";
}): Engine;

/** The cell that holds a position. */
export function cellAt(grid: Grid, u: number, v: number): number;
/** The position of a cell's centre. */
export function centre(grid: Grid, cell: number): Position;
