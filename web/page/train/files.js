/** The photographs that a visitor gives to a training: chosen files, a chosen folder, or what is dropped. */

/** Extensions of pictures for which browsers give no type. */
const EXTENSIONS = /\.(jpe?g|jfif|png|webp|avif|gif|bmp|heic|heif)$/i;
/** Files below a dropped folder that are looked at; a folder with more was most likely dropped by mistake. */
const MOST_FILES = 20_000;

/** Whether a file may be a picture, by its type or name. Whether it is one shows when it is decoded. */
export const isPicture = ({ type, name }) => type.startsWith("image/") || (!type && EXTENSIONS.test(name));

/** The pictures among files, in the order of their paths, and the number of the others. */
export function picturesOf(files) {
  const path = (file) => file.webkitRelativePath || file.name;
  // Hidden files, such as those that macOS puts beside pictures, are no pictures of the visitor.
  const visible = files.filter((file) => !file.name.startsWith("."));
  const pictures = visible.filter(isPicture);
  pictures.sort((a, b) => (path(a) < path(b) ? -1 : path(a) > path(b) ? 1 : 0));
  return { pictures, others: visible.length - pictures.length };
}

/**
 * Whether something dropped is meant for a training: a folder, or more files than a pair has.
 * @param {DataTransfer} transfer
 */
export function isForTraining(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  return entries.some((entry) => entry.isDirectory) || transfer.files.length > 2;
}

/**
 * All files that were dropped, also those in folders. To be called in the handler of the drop, before anything is
 * awaited: the browser empties the transfer afterwards.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return Promise.resolve([...transfer.files]);
  return filesBelow(entries);
}

async function filesBelow(entries) {
  const files = [];
  const waiting = [...entries];
  while (waiting.length && files.length < MOST_FILES) {
    const entry = waiting.shift();
    if (entry.isFile) files.push(...(await fileOf(entry)));
    else if (entry.isDirectory) waiting.push(...(await entriesOf(entry.createReader())));
  }
  return files;
}

/** The file of an entry; none if it cannot be read, for instance without permission. */
const fileOf = (entry) =>
  new Promise((resolve) => entry.file((file) => resolve([file]), () => resolve([])));

/** The entries of a folder, which a browser gives in portions; those that can be read. */
async function entriesOf(reader) {
  const all = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) return all;
    all.push(...some);
  }
}
