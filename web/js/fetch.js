/** Files from the network, and what can go wrong on the way. */

import { EngineError, aborted } from "./errors.js";

/** The last part of an address. @param {string} url */
export const name = (url) => new URL(url).pathname.split("/").pop() || url;

const failed = (error, message) => (error?.name === "AbortError" ? aborted() : new EngineError("network", message));

/** The error of a body that did not come to its end. @param {string} url */
export const broken = (error, url) => failed(error, `The connection broke while loading ${name(url)}. Try again.`);

/** @param {string} url @param {RequestInit} [init] @returns {Promise<Response>} one that is ok */
export async function fetchFile(url, init) {
  const response = await fetch(url, init).catch((error) => {
    throw failed(error, `${name(url)} could not be loaded: no connection, or its server does not allow this page to. Try again.`);
  });
  if (response.ok) return response;
  const { status } = response;
  if (status === 404 || status === 410) throw new EngineError("not-found", `There is nothing at ${url} (error ${status}). Check the address.`);
  throw new EngineError("network", `The server answered with error ${status} for ${name(url)}. Try again later.`);
}
