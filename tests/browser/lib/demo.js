// The demo page as a visitor uses it: its parts by their visible names, and what one does with them.

// With this setting the page shows a fixed point instead of a moving one, so that tests see a stable page.
export const CALM = { reducedMotion: "reduce" };

/** The choices of a visitor who sees a rendered scene, whose truth is known, instead of the photographs. */
export const SCENE = "#pair=scene.6";

/** The parts of the page, found by their visible names. */
export class Demo {
  constructor(page) {
    this.page = page;
    this.canvas = page.locator("canvas.pictures").first();
    this.reading = page.locator(".panel .reading").first();
    this.figures = page.locator(".panel .figures").first();
    this.timings = page.locator("#timings");
    this.notice = page.locator("#notice");
  }

  choose(label) {
    const exactly = new RegExp(`^\\s*${label}\\s*$`);
    return this.page.locator("label, button").filter({ hasText: exactly }).first().click();
  }

  /** Waits until the first column has matched the pictures and, if the truth is known, has been measured. */
  async ready({ truth = true } = {}) {
    const failed = this.page.locator(".notice.is-error:visible, .panel [role=alert]:visible").first();
    await this.timings.getByText(/similarities/).or(failed).first().waitFor({ timeout: 60_000 });
    if (await failed.isVisible()) throw new Error(`the page says: ${await failed.innerText()}`);
    if (truth) await this.figures.getByText("PCK@0.1", { exact: true }).waitFor();
  }

  /** Points at (u, v) of the first of two square pictures, left of the second one in a wide canvas, else above it. */
  async point([u, v]) {
    const { width, height } = await this.canvas.boundingBox();
    const side = width > height ? (width - 10) / 2 : width;
    await this.canvas.hover({ position: { x: u * side, y: v * side } });
  }

  /** Drops files onto the page: [name, type, bytes]. */
  drop(...files) {
    return this.dropAt({}, ...files);
  }

  /** The same at a place of the window, {clientX, clientY}. */
  async dropAt(place, ...files) {
    const given = files.map(([name, type, bytes]) => [name, type, Buffer.from(bytes).toString("base64")]);
    const transfer = await this.page.evaluateHandle((given) => {
      const transfer = new DataTransfer();
      for (const [name, type, base64] of given) {
        const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type }));
      }
      return transfer;
    }, given);
    for (const type of ["dragenter", "dragover", "drop"]) {
      await this.page.dispatchEvent("main", type, { dataTransfer: transfer, bubbles: true, cancelable: true, ...place });
    }
  }

  /** The number of mutual matches that the page shows. */
  async count() {
    await this.reading.getByText(/mutual match/).waitFor();
    return Number(/(\d+)\s*mutual/.exec(await this.reading.innerText())[1]);
  }
}

/** Opens the demo page for a new visitor. `hash`: the choices in its address; an empty one shows the photographs. */
export async function demo(visit, { hash = SCENE, site, ...visitor } = {}) {
  site ??= await visit.site();
  const page = await visit.visitor({ ...CALM, ...visitor });
  await page.goto(site.url(`/demo/${hash}`));
  return { site, page, demo: new Demo(page) };
}

/** The same, once the first pair, whose truth is known, is matched. */
export async function ready(visit, options) {
  const opened = await demo(visit, options);
  await opened.demo.ready();
  return opened;
}

/** By how many CSS pixels the page is wider than the window; 0 if it fits. */
export const horizontalOverflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
