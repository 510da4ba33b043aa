// Files of a recording, kept in this browser by the name behind their address' #, which stands for their content: each is
// fetched once.

const DATABASE = "vit-explorer";
const MOST = 256 * 2 ** 20; // bytes kept; the oldest files go first
const FILES = "files"; // name -> bytes
const SIZES = "sizes"; // name -> { size, at }, so that nobody has to read the bytes to count them

/** @type {Promise<IDBDatabase | null> | null} */
let opened = null;

/** @returns {Promise<IDBDatabase | null>} null where a browser keeps nothing, as some private windows do */
function database() {
  opened ??= new Promise((resolve) => {
    const request = globalThis.indexedDB?.open(DATABASE, 1);
    if (!request) return resolve(null);
    request.onupgradeneeded = () => [FILES, SIZES].forEach((name) => request.result.createObjectStore(name));
    request.onsuccess = () => {
      request.result.onclose = () => (opened = null); // a person cleared the site's data
      resolve(request.result);
    };
    request.onerror = () => resolve(null);
  });
  return opened;
}

/**
 * The answer to one request; null where it fails.
 * @template T
 * @param {(table: (name: string) => IDBObjectStore) => IDBRequest<T>} ask
 * @param {IDBTransactionMode} mode
 * @returns {Promise<T | null>}
 */
async function request(ask, mode) {
  const kept = await database();
  if (!kept) return null;
  return new Promise((resolve) => {
    const transaction = kept.transaction([FILES, SIZES], mode);
    transaction.onabort = () => resolve(null); // no room left, say
    const asked = ask((name) => transaction.objectStore(name));
    asked.onsuccess = () => resolve(asked.result);
  });
}

/** @type {Map<string, Promise<Uint8Array>>} */
const underWay = new Map();
let untidy = MOST; // bytes that came since the last tidy(), which the first file of a window calls

/**
 * The bytes of a file, from this browser or, once, from the server. Throws where neither has it.
 * @param {string} url with its name behind #
 * @returns {Promise<Uint8Array>}
 */
export function fetchOnce(url) {
  const name = new URL(url).hash.slice(1);
  if (!underWay.has(name)) underWay.set(name, take(name, url).finally(() => underWay.delete(name)));
  return /** @type {Promise<Uint8Array>} */ (underWay.get(name));
}

async function take(name, url) {
  const kept = await request((table) => table(FILES).get(name), "readonly");
  if (kept) return kept;
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  await request((table) => {
    table(SIZES).put({ name, size: bytes.length, at: Date.now() }, name);
    return table(FILES).put(bytes, name);
  }, "readwrite");
  untidy += bytes.length;
  if (untidy > MOST / 8) {
    untidy = 0;
    await tidy();
  }
  return bytes;
}

/** Let the oldest files go where more than MOST bytes are kept. */
async function tidy() {
  const files = (await request((table) => table(SIZES).getAll(), "readonly")) ?? [];
  let total = files.reduce((sum, { size }) => sum + size, 0);
  for (const { name, size } of files.sort((a, b) => a.at - b.at)) {
    if (total <= MOST) break;
    total -= size;
    await request((table) => {
      table(SIZES).delete(name);
      return table(FILES).delete(name);
    }, "readwrite");
  }
}
