// A static web server on its own port. It serves the built page, the built package, fixtures and pages made
// by tests, with a Content Security Policy, with or without CORS, and can simulate faults.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { once } from "node:events";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** The policy under which the element works by its README. Pages have it unless a test sets another one. */
export const STRICT_CSP =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; " +
  "img-src 'self' blob: data:; connect-src 'self'; worker-src 'self' blob:";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".svg": "image/svg+xml",
};

// The folders that are served: [path prefix, folder]. The page is not at the root, because a static host may
// serve it from any folder.
const MOUNTS = [
  ["/demo/", path.join(ROOT, "dist")],
  ["/package/", path.join(ROOT, "web/dist")],
  ["/reference/", process.env.DENSECL_BROWSER_FIXTURES ?? path.join(ROOT, "target/tmp/browser")],
];

/** A server, which is one origin for the browser. Made by `openSite`. */
export class Site {
  /** All requests so far: {method, path, status}. */
  requests = [];
  #server;
  #files = new Map();
  #faults = [];
  #options;

  constructor(server, options) {
    this.#server = server;
    this.#options = options;
    server.on("request", (request, response) => {
      this.#answer(request, response).catch((error) => response.destroy(error));
    });
  }

  get origin() {
    return `http://localhost:${this.#server.address().port}`;
  }

  url(file) {
    return this.origin + file;
  }

  /** Serves `body` at `file`. */
  put(file, body) {
    this.#files.set(file, body);
    return this.url(file);
  }

  /** Serves an HTML page at `file`. */
  html(file, body, { head = "" } = {}) {
    return this.put(
      file,
      `<!doctype html><html lang="en"><meta charset="utf-8"><title>test</title>
       <meta name="viewport" content="width=device-width, initial-scale=1">
       ${head}<body>${body}</body></html>`,
    );
  }

  /**
   * Makes requests for matching paths fail until `heal` is called.
   *
   * "missing": status 404. "cut": the connection breaks after half of the file. "short": half of the file is
   * sent as if it were whole. "corrupt": one byte is changed. "held": half of the file is sent, the rest after
   * `release()`.
   *
   * @returns {{heal: () => void, release: () => void, reached: Promise<void>}} `reached`: resolves at the first
   *   such request
   */
  fault(pattern, kind) {
    let release, reach;
    const fault = {
      pattern,
      kind,
      released: new Promise((resolve) => (release = resolve)),
      reach: () => reach(),
    };
    const reached = new Promise((resolve) => (reach = resolve));
    this.#faults.push(fault);
    const heal = () => (this.#faults = this.#faults.filter((other) => other !== fault));
    return { heal, release, reached };
  }

  /** The number of requests for matching paths. */
  count(pattern) {
    return this.requests.filter((request) => pattern.test(request.path)).length;
  }

  async #answer(request, response) {
    const { pathname } = new URL(request.url, this.origin);
    const file = decodeURIComponent(pathname);
    const log = { method: request.method, path: file, status: 0, range: request.headers.range };
    this.requests.push(log);
    response.on("finish", () => (log.status = response.statusCode));

    const { csp, cors } = this.#options;
    if (csp) response.setHeader("content-security-policy", csp);
    if (cors) {
      response.setHeader("access-control-allow-origin", "*");
      response.setHeader("access-control-allow-headers", "range");
      response.setHeader("access-control-expose-headers", "content-length, content-range, etag");
    }
    response.setHeader("cache-control", "no-cache"); // as docs/web.md advises: cached, but revalidated
    const nothing = request.method === "OPTIONS" || file === "/favicon.ico"; // requested by browsers
    if (nothing) return response.writeHead(204).end();

    const fault = this.#faults.find((candidate) => candidate.pattern.test(file));
    const body = fault?.kind === "missing" ? null : await this.read(file);
    fault?.reach();
    if (body === null) {
      response.setHeader("content-type", "text/plain");
      return response.writeHead(404).end("not found");
    }
    response.setHeader("content-type", TYPES[path.extname(file) || ".html"] ?? "application/octet-stream");
    if (fault) return this.#misbehave(fault, body, response);
    this.#send(request, response, body);
  }

  #send(request, response, body) {
    const tag = `"${createHash("sha1").update(body).digest("hex")}"`;
    response.setHeader("etag", tag);
    if (request.headers["if-none-match"] === tag) return response.writeHead(304).end();
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    let part = body;
    if (range) {
      const [from, to] = [Number(range[1]), Math.min(range[2] ? Number(range[2]) + 1 : body.length, body.length)];
      if (from >= body.length) {
        return response.writeHead(416, { "content-range": `bytes */${body.length}` }).end();
      }
      part = body.subarray(from, to);
      response.statusCode = 206;
      response.setHeader("content-range", `bytes ${from}-${to - 1}/${body.length}`);
    }
    response.setHeader("accept-ranges", "bytes");
    response.setHeader("content-length", part.length);
    response.end(request.method === "HEAD" ? undefined : part);
  }

  async #misbehave({ kind, released }, body, response) {
    const half = body.subarray(0, body.length >> 1);
    switch (kind) {
      case "short":
        response.setHeader("content-length", half.length);
        return response.end(half);
      case "corrupt": {
        const changed = Buffer.from(body);
        changed[changed.length >> 1] ^= 0x55;
        response.setHeader("content-length", changed.length);
        return response.end(changed);
      }
      case "cut":
        response.setHeader("content-length", body.length);
        response.write(half, () => response.destroy());
        return undefined;
      case "held":
        response.setHeader("content-length", body.length);
        response.write(half);
        await released;
        return response.end(body.subarray(half.length));
      default:
        throw new Error(`no fault is called ${kind}`);
    }
  }

  /** The content at the path `file`, or null if there is none. */
  async read(file) {
    const made = this.#files.get(file);
    if (made !== undefined) return Buffer.from(made);
    const mount = [...MOUNTS, ...this.#options.mounts].find(([prefix]) => file.startsWith(prefix));
    if (!mount) return null;
    const [prefix, folder] = mount;
    const name = file.endsWith("/") ? `${file}index.html` : file;
    const full = path.join(folder, name.slice(prefix.length));
    if (!full.startsWith(folder + path.sep)) return null;
    return readFile(full).catch(() => null);
  }

  async close() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/**
 * @param {{csp?: string | null, cors?: boolean, mounts?: [string, string][]}} options
 *   `mounts`: more folders to serve, [path prefix, folder]
 * @returns {Promise<Site>}
 */
export async function openSite({ csp = STRICT_CSP, cors = false, mounts = [] } = {}) {
  const server = createServer();
  const site = new Site(server, { csp, cors, mounts });
  server.listen(0, "localhost");
  await once(server, "listening");
  return site;
}
