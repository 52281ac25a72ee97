/** Creates elements without HTML strings, which a strict content security policy forbids. */

/**
 * @param {string} tag
 * @param {Record<string, string | number | boolean>} attributes `true` sets an empty attribute, `false` sets none
 * @param {...(Node | string | null)} children
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** The element of index.html with this id. */
export const byId = (id) => document.getElementById(id);

/** Offers a file as a download. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  // The browser reads the URL only after the click has been handled.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
