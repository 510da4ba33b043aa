// What the live canvas on this page shows, in words: it listens to the canvas' "drawn" events.

/**
 * @typedef {{ cols: number, depth: number }} Place
 * @typedef {{ layer: number, head: number | string, query: [number, number] | string, weights: Float32Array }} Shown
 */

const listeners = new WeakMap();

/** A share of all attention: two digits, more only where the number has them before its point. */
const percent = (weight) => `${weight < 0.1 ? Number((100 * weight).toPrecision(2)) : Math.round(100 * weight)} %`;

/**
 * @param {Shown} shown
 * @param {Place} place
 */
function sentences({ layer, head, query, weights }, { cols, depth }) {
  const top = weights.reduce((best, weight, index) => (weight > weights[best] ? index : best), 0);
  const mean = weights.reduce((sum, weight) => sum + weight, 0) / weights.length;
  const at = [Math.floor(top / cols), top % cols];
  const asks = {
    mean: "Bright: the patches that all patches look at on average. Together they give",
    patch: `This patch, row ${query[0]}, column ${query[1]}, gives`,
    token: `The model keeps one extra token, ${query}, that sums up the photo. Bright: the patches it draws on. It gives`,
  }[Array.isArray(query) ? "patch" : query === "mean" ? "mean" : "token"];
  const where = String(at) === String(query) ? "itself the most," : `row ${at[0]}, column ${at[1]} the most,`;
  const heads = typeof head === "number" ? `head ${head}` : `the ${head} of its heads`;
  return (
    `${asks} ${where} ${percent(weights[top])} of its attention: there the ring is. ` +
    `On average a patch gets ${percent(mean)}. (Layer ${layer}, from 0 to ${depth - 1}; ${heads}.)`
  );
}

export default function ({ data, parentElement }) {
  const words = parentElement.querySelector("[data-part=words]");
  listeners.get(words)?.abort();
  const stop = new AbortController();
  listeners.set(words, stop);
  const follow = (event) => (words.textContent = sentences(event.detail, data));
  window.addEventListener("drawn", follow, { signal: stop.signal });
  if (window.lastDrawn) follow({ detail: window.lastDrawn });
  return endWhenGone(words, () => stop.abort());
}
