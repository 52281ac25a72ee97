// Reads the colours that a visitor sees, from screenshots.

/**
 * The pixels of a screenshot, decoded by the browser itself.
 * @param {import("playwright-core").Locator} locator
 * @returns {Promise<{width: number, height: number, at: (u: number, v: number) => number[]}>}
 *   `at`: the colour [r, g, b] at (u, v) in [0, 1]²
 */
export async function look(locator) {
  const shot = await locator.screenshot({ animations: "disabled" });
  const page = locator.page();
  const { width, height, pixels } = await page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    let text = "";
    for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
    return { width: bitmap.width, height: bitmap.height, pixels: btoa(text) };
  }, shot.toString("base64"));
  const data = Buffer.from(pixels, "base64");
  const at = (u, v) => {
    const x = Math.min(Math.floor(u * width), width - 1);
    const y = Math.min(Math.floor(v * height), height - 1);
    return [...data.subarray((y * width + x) * 4, (y * width + x) * 4 + 3)];
  };
  return { width, height, at, data };
}

/** Whether two colours differ by at most `tolerance` in each channel. */
export const alike = (a, b, tolerance = 24) => a.every((value, i) => Math.abs(value - b[i]) <= tolerance);

/** The share of pixels that differ between two screenshots. */
export function changed(before, after) {
  if (before.width !== after.width || before.height !== after.height) return 1;
  let count = 0;
  for (let i = 0; i < before.data.length; i += 4) {
    const same = [0, 1, 2].every((c) => Math.abs(before.data[i + c] - after.data[i + c]) <= 8);
    if (!same) count++;
  }
  return count / (before.data.length / 4);
}
