// Patches of a picture by mouse and keys; stands before the scripts of pictures whose patches can be picked.

/** @typedef {[row: number, col: number]} Patch */

/** @type {Record<string, Patch>} */
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** The number of a row or column, none outside of the grid. */
function withinGrid(place, count) {
  return Math.max(0, Math.min(count - 1, place));
}

/**
 * The patch of an element of `grid` = [rows, cols] patches that the mouse is on.
 * @returns {Patch}
 */
function patchUnder(event, element, grid) {
  const { left, top, width, height } = element.getBoundingClientRect();
  const place = (offset, size, count) => withinGrid(Math.floor((offset / size) * count), count);
  return [place(event.clientY - top, height, grid[0]), place(event.clientX - left, width, grid[1])];
}

/**
 * The patch beside another one that an arrow key leads to, which then doesn't scroll the page; null for other keys.
 * @returns {Patch | null}
 */
function patchByKey(event, patch, grid) {
  const step = STEPS[event.key];
  if (!step) return null;
  event.preventDefault();
  return [withinGrid(patch[0] + step[0], grid[0]), withinGrid(patch[1] + step[1], grid[1])];
}
