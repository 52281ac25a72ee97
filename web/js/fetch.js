/** Fetches files, with errors for visitors. */

import { EngineError, aborted } from "./errors.js";

/** The file name at the end of a URL. @param {string} url */
export const name = (url) => new URL(url).pathname.split("/").pop() || url;

const failed = (error, message) => (error?.name === "AbortError" ? aborted() : new EngineError("network", message));

/** The error of a response whose body ended early. @param {string} url */
export const broken = (error, url) => failed(error, `The connection broke while loading ${name(url)}. Try again.`);

/** Fetches a file. @param {string} url @param {RequestInit} [init] @returns {Promise<Response>} a successful one */
export async function fetchFile(url, init) {
  const response = await fetch(url, init).catch((error) => {
    throw failed(error, `${name(url)} could not be loaded: no connection, or its server does not allow this page to. Try again.`);
  });
  if (response.ok) return response;
  const { status } = response;
  if (status === 404 || status === 410) throw new EngineError("not-found", `There is nothing at ${url} (error ${status}). Check the address.`);
  throw new EngineError("network", `The server answered with error ${status} for ${name(url)}. Try again later.`);
}
