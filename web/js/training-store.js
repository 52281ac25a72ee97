/**
 * The run in the browser's storage (IndexedDB): one at a time. A transaction replaces the state as a whole, so a page
 * that is closed while it stores leaves the state before.
 *
 * @typedef {object} Stored the record of a run, without its pictures
 * @property {number} version
 * @property {"scenes" | "pictures"} source
 * @property {string} objective
 * @property {string} settings TOML
 * @property {object} run `StartedDetail`
 * @property {object | null} before the measurement of the untrained network
 * @property {object[]} rows the figures of all logged steps
 * @property {number} step
 * @property {number} totalSteps
 * @property {number} seconds of training
 * @property {number} time when it was stored, in milliseconds since 1970
 * @property {ArrayBuffer} state the checkpoint
 * @property {ArrayBuffer | null} untrained the weights before the first step
 */

const DATABASE = "densecl-training";
/** The version of the records; of another version nothing is read. */
export const VERSION = 1;
/** The one run. */
const KEY = "run";
/** The lock of the tab that stores its run. */
export const LOCK = "densecl-training";

/** @param {IDBRequest} request @returns {Promise<any>} */
const answer = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** @param {IDBTransaction} transaction */
const done = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(undefined);
    transaction.onabort = () => reject(transaction.error ?? new Error("the storage gave up"));
    transaction.onerror = () => reject(transaction.error);
  });

/** Opens the database. Rejects where a browser has none, or refuses it. @returns {Promise<IDBDatabase>} */
async function open() {
  const request = indexedDB.open(DATABASE, VERSION);
  request.onupgradeneeded = () => {
    const database = request.result;
    for (const name of [...database.objectStoreNames]) database.deleteObjectStore(name);
    database.createObjectStore("run");
    database.createObjectStore("pictures");
  };
  return answer(request);
}

/**
 * Runs `work` with the object stores in one transaction.
 * @param {IDBTransactionMode} mode
 * @param {(stores: {run: IDBObjectStore, pictures: IDBObjectStore}) => any} work
 */
async function within(mode, work) {
  const database = await open();
  try {
    const transaction = database.transaction(["run", "pictures"], mode);
    const finished = done(transaction);
    finished.catch(() => {}); // a failed request rejects first
    const stores = { run: transaction.objectStore("run"), pictures: transaction.objectStore("pictures") };
    const result = await work(stores);
    await finished;
    return result;
  } finally {
    database.close();
  }
}

/** The stored run; null where there is none, or no storage. @returns {Promise<Stored | null>} */
export async function read() {
  try {
    const stored = await within("readonly", ({ run }) => answer(run.get(KEY)));
    return stored?.version === VERSION ? stored : null;
  } catch {
    return null;
  }
}

/**
 * Replaces the stored run. For a run on scenes the pictures of an earlier one are removed.
 * @param {Stored} stored
 */
export function write(stored) {
  return within("readwrite", ({ run, pictures }) => {
    run.put(stored, KEY);
    if (stored.source === "scenes") pictures.clear();
  });
}

/** Removes the stored run with its pictures. */
export function clear() {
  return within("readwrite", ({ run, pictures }) => {
    run.clear();
    pictures.clear();
  });
}

/**
 * Stores pictures, numbered from `first` on.
 * @param {number} first
 * @param {{rgb: Uint8Array, width: number, height: number}[]} all
 */
export function writePictures(first, all) {
  return within("readwrite", ({ pictures }) => {
    all.forEach((picture, index) => pictures.put(picture, first + index));
  });
}

/**
 * Some of the stored pictures, in their order.
 * @param {number} first
 * @param {number} count
 * @returns {Promise<{rgb: Uint8Array, width: number, height: number}[]>}
 */
export function readPictures(first, count) {
  return within("readonly", ({ pictures }) => answer(pictures.getAll(IDBKeyRange.bound(first, first + count - 1))));
}
