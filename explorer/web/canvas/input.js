// Mouse, touch and keyboard on the picture, and the keys that choose layer and head.

/** @typedef {import("./view.js").LiveView} LiveView */

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const TYPED = "textarea, select, [contenteditable], input:not([type=range], [type=checkbox], [type=radio])";

/** The patch under a pointer event, [row, col]. */
export function patchAt(event, canvas, [rows, cols]) {
  const box = canvas.getBoundingClientRect();
  const clamp = (value, size) => Math.max(0, Math.min(size - 1, Math.floor(value * size)));
  return [clamp((event.clientY - box.top) / box.height, rows), clamp((event.clientX - box.left) / box.width, cols)];
}

/**
 * Let a view follow the pointer and the keys; returns a function that stops it.
 * @param {LiveView} view
 */
export function listen(view) {
  const { picture } = view;
  const stop = new AbortController();
  const on = (target, type, handle) => target.addEventListener(type, handle, { signal: stop.signal });

  const point = (event) => {
    if (!view.data) return;
    const patch = /** @type {any} */ (patchAt(event, picture, view.data.grid));
    if (String(patch) === String(view.hover) && event.shiftKey === view.reading) return;
    view.hover = patch;
    view.reading = event.shiftKey;
    view.schedule();
  };
  const leave = () => {
    view.hover = null;
    view.reading = false;
    view.schedule();
  };
  const pin = (event) => {
    if (!view.data) return;
    const patch = /** @type {any} */ (patchAt(event, picture, view.data.grid));
    const again = event.pointerType === "touch" && String(patch) === String(view.state.query); // a finger has no Esc
    view.set({ query: again ? view.data.default_query : patch });
  };

  const press = (event) => {
    if (!view.data || event.altKey || event.ctrlKey || event.metaKey) return;
    const step = STEPS[event.key];
    if (!step && event.key !== "Escape") return;
    event.preventDefault();
    view.hover = null;
    view.set({ query: step ? moved(view, step) : view.data.default_query }, "soon");
  };
  const steer = (event) => {
    if (!view.data?.steps || event.metaKey || !isMeant(view, event)) return;
    const bracket = event.key === "[" || event.key === "]"; // typed with Alt or AltGr on many keyboards
    if (bracket ? event.ctrlKey && !event.altKey : event.altKey || event.ctrlKey) return;
    const change = steered(view, event.key);
    if (change) view.pick(change, "soon");
  };

  on(picture, "pointermove", point);
  on(picture, "pointerdown", point);
  on(picture, "pointerleave", leave);
  on(picture, "pointercancel", leave);
  on(picture, "click", pin);
  on(picture, "keydown", press);
  on(document, "keydown", steer);
  return () => stop.abort();
}

/** Whether a key is for the view: the mouse is over it or the focus in it, and nobody is typing. */
function isMeant(view, event) {
  const target = event.composedPath()[0];
  if (target instanceof Element && target.matches(TYPED)) return false;
  return view.root.matches(":hover") || view.root.contains(target);
}

/** What a key changes: [ and ] the layer, 0 to 9 the head, m all heads' mean. */
function steered(view, key) {
  const { depth, heads } = view.data;
  if (key === "[" || key === "]") {
    const layer = view.state.layer + (key === "]" ? 1 : -1);
    return layer < 0 || layer >= depth ? null : { layer };
  }
  if (key === "m") return { head: "mean" };
  return key >= "0" && key <= "9" && key.length === 1 && Number(key) < heads ? { head: Number(key) } : null;
}

/**
 * The pinned patch one step on; from a prefix token the walk begins in the middle.
 * @returns {import("./attention.js").Patch}
 */
function moved(view, [down, right]) {
  const [rows, cols] = view.data.grid;
  const { query } = view.state;
  if (!Array.isArray(query)) return [Math.floor(rows / 2), Math.floor(cols / 2)];
  const clamp = (value, size) => Math.max(0, Math.min(size - 1, value));
  return [clamp(query[0] + down, rows), clamp(query[1] + right, cols)];
}
