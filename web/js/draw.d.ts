/** Drawing on a 2D canvas: pictures, heat maps, match lines, PCA colours and markers. */

/** The place of a picture on the canvas, in CSS pixels. */
export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A position in a picture, [u, v] in [0, 1], x to the right, y down. */
export type Position = [u: number, v: number];

/** Rows and columns of a grid of cells that covers a picture; cells are numbered row by row. */
export type Grid = [rows: number, columns: number];

/** A match to draw; `correct` is a boolean if the truth is known. */
export interface Line {
  a: Position;
  b: Position;
  score: number;
  correct?: boolean | null;
}

export type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

export const CORRECT: string;
export const WRONG: string;
export const UNKNOWN: string;

/** The viridis colour at `t` in [0, 1]. */
export function viridis(t: number): [r: number, g: number, b: number];
export function viridisCss(t: number): string;
export function finiteRange(values: Iterable<number>): [least: number, greatest: number];

/** The places of two pictures: side by side, or stacked if they would be too narrow and stacking makes them larger. */
export function layout(
  width: number,
  a: { width: number; height: number },
  b: { width: number; height: number },
  options?: { gap?: number; minWidth?: number; maxHeight?: number },
): { a: Rect; b: Rect; width: number; height: number; stacked: boolean };

/** The position in a picture of a point of the canvas; null outside. */
export function positionAt(rect: Rect, x: number, y: number): Position | null;
export function pointAt(rect: Rect, position: Position): [x: number, y: number];
export function cellRect(rect: Rect, grid: Grid, cell: number): Rect;

/** Sets the size of a canvas and clears it; the returned context draws in CSS pixels. */
export function prepare(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
  ratio?: number,
): CanvasRenderingContext2D;

export function drawPicture(
  context: Context,
  source: CanvasImageSource,
  rect: Rect,
  options?: { grey?: number; dim?: number; radius?: number },
): void;
export function drawHeat(
  context: Context,
  values: ArrayLike<number> & Iterable<number>,
  grid: Grid,
  rect: Rect,
  options?: { opacity?: number; range?: [number, number]; radius?: number },
): void;
export function drawPca(
  context: Context,
  rgba: ArrayLike<number>,
  grid: Grid,
  rect: Rect,
  options?: { opacity?: number; smooth?: boolean; radius?: number },
): void;
export function drawLines(
  context: Context,
  rectA: Rect,
  rectB: Rect,
  lines: Line[],
  options?: { range?: [number, number]; colour?: "auto" | "score" | "truth"; highlight?: number; width?: number },
): void;
/** The CSS colour of a line: by truth if `correct` is a boolean, else by the `level` of its score in [0, 1]. */
export function lineColour(
  correct: boolean | null | undefined,
  level: number,
  colour?: "auto" | "score" | "truth",
): string;
export function drawCrosshair(context: Context, rect: Rect, position: Position): void;
export function drawCell(
  context: Context,
  rect: Rect,
  grid: Grid,
  cell: number,
  options?: { colour?: string; width?: number },
): void;
export function drawMarker(
  context: Context,
  rect: Rect,
  position: Position,
  options?: { kind?: "ring" | "dot" | "truth"; colour?: string; radius?: number },
): void;
export function drawError(context: Context, rect: Rect, found: Position, truth: Position): void;
/** The two cells between whose centres a pixel's centre lies along one axis, and the weight of the second. */
export function neighbours(pixel: number, factor: number, cells: number): [first: number, second: number, weight: number];
