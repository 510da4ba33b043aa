// Mouse, touch and keyboard on the picture.

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const REST = 250; // ms after the last arrow key before Python gets the new patch

/** The patch under a pointer event, [row, col]. */
export function patchAt(event, canvas, [rows, cols]) {
  const box = canvas.getBoundingClientRect();
  const clamp = (value, size) => Math.max(0, Math.min(size - 1, Math.floor(value * size)));
  return [clamp((event.clientY - box.top) / box.height, rows), clamp((event.clientX - box.left) / box.width, cols)];
}

/** Let a view follow the pointer and the keys; returns a function that stops it. */
export function listen(view) {
  const { picture } = view;
  const stop = new AbortController();
  let rest = 0;
  const on = (target, type, handle) => target.addEventListener(type, handle, { signal: stop.signal });

  const point = (event) => {
    if (!view.data) return;
    const patch = patchAt(event, picture, view.data.grid);
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
    const patch = patchAt(event, picture, view.data.grid);
    const again = event.pointerType === "touch" && String(patch) === String(view.state.query); // a finger has no Esc
    view.set({ query: again ? view.data.default_query : patch });
  };

  const press = (event) => {
    if (!view.data || event.altKey || event.ctrlKey || event.metaKey) return;
    const step = STEPS[event.key];
    if (!step && event.key !== "Escape") return;
    event.preventDefault();
    view.hover = null;
    view.set({ query: step ? moved(view, step) : view.data.default_query }, false);
    clearTimeout(rest);
    rest = setTimeout(() => view.report(), REST);
  };

  on(picture, "pointermove", point);
  on(picture, "pointerdown", point);
  on(picture, "pointerleave", leave);
  on(picture, "pointercancel", leave);
  on(picture, "click", pin);
  on(picture, "keydown", press);
  return () => {
    clearTimeout(rest);
    stop.abort();
  };
}

/** The pinned patch one step on; from a prefix token the walk begins in the middle. */
function moved(view, [down, right]) {
  const [rows, cols] = view.data.grid;
  const { query } = view.state;
  if (!Array.isArray(query)) return [Math.floor(rows / 2), Math.floor(cols / 2)];
  const clamp = (value, size) => Math.max(0, Math.min(size - 1, value));
  return [clamp(query[0] + down, rows), clamp(query[1] + right, cols)];
}
