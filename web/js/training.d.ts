/**
 * Training in the page: a network learns on rendered scenes or on a visitor's photographs, in a worker of its own.
 * Nothing is uploaded. The training module is fetched by the first `start` or `resume`, not by importing this file.
 *
 *     const training = new Training();
 *     element.weights = training.weights;           // <dense-match> follows the training, about once a second
 *     training.addEventListener("row", ({ detail }) => plot(detail));
 *     await training.start("scenes");
 */

import type { DeviceInfo, ErrorType } from "./engine.js";
import type { LiveWeights } from "./live-weights.js";

/**
 * What a training minimises: `quickstart` is DenseCL with positives from the geometry of the views and in-view
 * negatives; `densecl` and `byol` are the methods of their papers; `mocov2` is DenseCL with λ = 0.
 */
export type Objective = "quickstart" | "densecl" | "mocov2" | "byol";

/**
 * What is trained on: the embedded scenes, or pictures, which the worker decodes and reduces. At least 16 must decode;
 * of more than 2,000 the first 2,000 are taken.
 */
export type TrainingSource = "scenes" | Iterable<Blob>;

export interface TrainingSettings {
  /** Default `quickstart`. */
  objective?: Objective;
  /** Steps of the run; by default those of the preset. */
  steps?: number;
  /** Weights, order of the data and views follow from it. A whole number ≥ 0; default 0. */
  seed?: number;
  /** Further settings over those of the preset, as of the program's `--set`, for instance `"optim.lr=0.05"`. */
  set?: string[];
}

/**
 * - `idle`: nothing was started, or the training was closed.
 * - `loading`: the training module is fetched and the device opened.
 * - `preparing`: pictures are decoded, and the untrained network is measured.
 * - `running`, `paused`: between the first step and the last.
 * - `measuring`: after the last step, or a stop.
 * - `ended`: the result is there; `goOn` trains further.
 * - `failed`: `error` says why. `weights` still has the newest weights.
 */
export type TrainingState = "idle" | "loading" | "preparing" | "running" | "paused" | "measuring" | "ended" | "failed";

/** Progress before the first step and after the last. */
export interface PreparationDetail {
  phase: "module" | "pictures" | "measuring";
  /** Parts done, and all parts: a fraction in [0, 1] of 1 for `module`, pictures, or batches and pairs. */
  done: number;
  total: number;
}

/** A figure that the method measures in each step; the same as in the library's `Figure`. */
export interface Figure {
  /** Its key in a row, such as `loss_dense`. */
  name: string;
  /** The plot that shows it. */
  panel: "loss" | "accuracy" | "spread" | "loss-reference" | "hidden";
  /** Its label in the legend of that plot. */
  label: string;
}

/** A run as it was started, or resumed. */
export interface StartedDetail {
  /** Steps already taken. */
  step: number;
  totalSteps: number;
  stepsPerEpoch: number;
  batchSize: number;
  /** Images or scenes that are trained on. */
  images: number;
  /** Images that are kept out of training for the measurement; 0 for scenes, which are rendered for it. */
  heldOut: number;
  /** Pictures that could not be used, with the reason. */
  refused: { name: string; reason: string }[];
  /** Pictures beyond the first 2,000, which were left out. */
  leftOut: number;
  source: "scenes" | "pictures";
  objective: Objective;
  /** What is trained, in words. */
  words: string;
  figures: Figure[];
  /** All settings as TOML, as in the `config.toml` of a run. */
  settings: string;
}

/**
 * The figures of a logged step: a line of `metrics.jsonl`, as the program writes it. A figure that is not finite is
 * null. Besides the keys listed here it has those of the method, see `StartedDetail.figures`.
 */
export interface MetricRow {
  step: number;
  epoch: number;
  loss: number | null;
  overlap: number | null;
  /** Share of overlapping cells matched within one cell of the truth, of random matches, and of matching the same place. */
  correspondence_accuracy: number | null;
  correspondence_chance: number | null;
  correspondence_same_place: number | null;
  grad_norm: number | null;
  learning_rate: number | null;
  images_per_second: number | null;
  data_wait_share: number | null;
  seconds: number | null;
  [figure: string]: number | null;
}

/** Sent a few times a second while steps are taken. */
export interface StepDetail {
  step: number;
  totalSteps: number;
  /** Images per second over the last seconds; pauses do not count. */
  imagesPerSecond: number;
  /** Seconds of training so far, without pauses; and an estimate of those that are left. */
  seconds: number;
  secondsLeft: number;
}

/** The measurement on held-out pairs, before the first step or after the last. */
export interface MeasuredDetail {
  /** Steps taken before it. */
  step: number;
  /** Share of cells matched within one cell of the truth, in [0, 1]. */
  accuracy: number;
  /** The same with the second picture of each pair mirrored. */
  mirrored: number;
  /** The accuracy of random matches, and of matching every cell with the cell at the same place. */
  chance: number;
  same_place: number;
  /** Cells that have a true match, and pairs. */
  cells: number;
  pairs: number;
}

/** Where the state of the run was kept: in the browser's storage, or in this page's memory alone. */
export interface KeptDetail {
  step: number;
  where: "storage" | "page";
  /** Why the storage could not be used, for visitors; empty if it was. */
  reason: string;
}

export interface TrainingErrorDetail {
  type: ErrorType;
  /** A message for visitors that says what to do. */
  message: string;
}

/** A run in the browser's storage, which `resume` continues. */
export interface StoredRun {
  step: number;
  totalSteps: number;
  source: "scenes" | "pictures";
  images: number;
  objective: Objective;
  /** When it was stored, in milliseconds since 1970. */
  time: number;
}

export interface TrainingEventMap {
  /** `state` has changed. */
  statechange: CustomEvent<{ state: TrainingState; previous: TrainingState }>;
  preparation: CustomEvent<PreparationDetail>;
  /** The run is ready for its first step, or was resumed or prolonged. */
  started: CustomEvent<StartedDetail>;
  /** The figures of a logged step; `rows` has them all. */
  row: CustomEvent<MetricRow>;
  step: CustomEvent<StepDetail>;
  measured: CustomEvent<MeasuredDetail>;
  kept: CustomEvent<KeptDetail>;
  devicechange: CustomEvent<DeviceInfo>;
  error: CustomEvent<TrainingErrorDetail>;
}

export class Training extends EventTarget {
  constructor(options?: {
    /** URL of training-worker.js; by default the one next to this module. */
    workerUrl?: string | URL;
    /** URL of the folder of the densecl_train_*.wasm files; by default that of this module. */
    wasmUrl?: string | URL;
    /** `auto`: a GPU that is not software, otherwise the CPU. */
    device?: "auto" | "gpu" | "cpu";
  });

  /** The run in this browser's storage; null if there is none, or no storage. */
  static stored(): Promise<StoredRun | null>;
  /** Removes the run from this browser's storage. */
  static discard(): Promise<void>;

  readonly state: TrainingState;
  /** Why the training failed; null unless `state` is `failed`. */
  readonly error: TrainingErrorDetail | null;
  readonly device: DeviceInfo | null;
  /** The run as it was started; null before. */
  readonly run: StartedDetail | null;
  /** Steps taken. */
  readonly step: number;
  /** The figures of all logged steps so far, oldest first; also those from before a reload. */
  readonly rows: readonly MetricRow[];
  /** The measurement before the first step, and after the last; null until it is made. */
  readonly before: MeasuredDetail | null;
  readonly after: MeasuredDetail | null;
  /** What was last kept for a resume; null before the first time. */
  readonly kept: KeptDetail | null;

  /**
   * The present weights, replaced about once a second while steps are taken, and after the last. Give them to
   * `<dense-match>`, or `current` to `engine().weights`, to see the features of a pair as they are now. While the page
   * is hidden they are not replaced. Always the same object; its `current` is null until the first measurement.
   */
  readonly weights: LiveWeights;
  /** The weights before the first step, with calibrated batch normalisation; null until they are there. */
  readonly untrained: Blob | null;

  /**
   * Starts a training; one that runs already is dropped, and one in the storage is removed. Resolves when the first step is about to be taken. Rejects
   * with an EngineError, which is the `error` too; with type `aborted` if `start`, `resume` or `close` came in between.
   */
  start(source: TrainingSource, settings?: TrainingSettings): Promise<void>;
  /** Continues the run that `stored` tells of, also in a page that was loaded anew. It is paused first if `paused`. */
  resume(options?: { paused?: boolean }): Promise<void>;
  /** Stops taking steps after the present one; before the first, it is not taken. Memory and GPU are kept. */
  pause(): Promise<void>;
  /** Goes on after a pause; after the end, trains `steps` more (by default as many as the run was started with). */
  goOn(steps?: number): Promise<void>;
  /**
   * Ends the run with its next step, and measures. Resolves when the state is `ended`. Before the first step it does
   * what `close` does.
   */
  stop(): Promise<void>;
  /** Keeps the state for `resume` now. It is kept every ten seconds, at a pause, at the end and when the page is hidden. */
  keep(): Promise<KeptDetail>;
  /** The present weights as the content of `weights.safetensors`, which `densecl match` and `--init` read. */
  save(): Promise<Blob>;
  /** Ends the worker and frees all memory; the run in the storage stays. The state is `idle` afterwards. */
  close(): void;

  addEventListener<K extends keyof TrainingEventMap>(
    type: K,
    listener: (this: Training, event: TrainingEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}
