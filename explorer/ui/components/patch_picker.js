// The photo cut into its patches, on a canvas that stays with the mouse; Python hears of a click only.

const OPENING = 0.3; // how far the patches come apart by themselves at first
const APART = 0.55; // share of a patch's side that the widest gap takes
const TALLEST = 720; // CSS pixels of a tall photo

class Picker {
  constructor(root) {
    /** @type {(name: string) => any} */
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.root = this.all = this.part("all");
    this.one = this.part("one");
    this.slider = this.part("gap");
    /** @type {Patch | null} */
    this.hover = null;
    this.source = "";
    this.frame = 0;
    /** @type {(patch: Patch) => void} */
    this.onPick = () => {};
    this.stop = new AbortController();
    const on = (target, type, handle) => target.addEventListener(type, handle, { signal: this.stop.signal });
    on(this.all, "pointermove", (event) => this.point(this.at(event)));
    on(this.all, "pointerleave", () => this.point(null));
    on(this.all, "click", (event) => this.pick(this.at(event)));
    on(this.all, "keydown", (event) => this.press(event));
    on(this.slider, "input", () => this.opened() && this.draw());
    this.resize = new ResizeObserver(() => this.draw());
    this.resize.observe(this.all.parentElement);
  }

  destroy() {
    this.stop.abort();
    this.resize.disconnect();
    cancelAnimationFrame(this.frame);
  }

  async update({ src, grid, patch }) {
    this.grid = grid;
    this.patch = patch;
    if (src !== this.source) {
      this.source = src;
      const image = new Image();
      image.src = src;
      await image.decode();
      if (src !== this.source) return; // a newer photo came meanwhile
      this.image = image;
    }
    this.draw();
    if (!this.open) this.comeApart();
  }

  /** Once, when the page is opened: the patches part, which shows what a patch is. */
  comeApart() {
    this.opened();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const started = performance.now();
    const step = (now) => {
      const share = still ? 1 : Math.min(1, (now - started) / 900);
      this.slider.value = OPENING * (1 - (1 - share) ** 3);
      this.draw();
      if (share < 1) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  opened() {
    cancelAnimationFrame(this.frame);
    return (this.open = true);
  }

  at(event) {
    return patchUnder(event, this.all, this.grid);
  }

  point(patch) {
    if (String(patch) === String(this.hover)) return;
    this.hover = patch;
    this.draw();
  }

  pick(patch) {
    this.patch = patch;
    this.draw();
    this.onPick(patch);
  }

  press(event) {
    const next = patchByKey(event, this.patch, this.grid);
    if (!next) return;
    this.hover = null;
    this.pick(next);
  }

  draw() {
    const [rows, cols] = this.grid ?? [1, 1];
    const width = Math.min(this.all.parentElement.clientWidth, (TALLEST * cols) / rows);
    if (!this.image || !width) return;
    const ratio = window.devicePixelRatio || 1;
    this.all.style.width = `${width}px`;
    this.all.style.height = `${(width * rows) / cols}px`;
    this.all.width = Math.round(width * ratio);
    this.all.height = Math.round((width * ratio * rows) / cols);
    const cell = this.all.width / cols;
    const gap = Math.max(1, cell * APART * Number(this.slider.value));
    const context = this.all.getContext("2d");
    const from = this.image.naturalWidth / cols;
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        const [x, y, side] = [col * cell + gap / 2, row * cell + gap / 2, cell - gap];
        context.drawImage(this.image, col * from, row * from, from, from, x, y, side, side);
      }
    }
    const accent = getComputedStyle(this.all).getPropertyValue("--accent").trim();
    // Light around the accent: on a photo of the accent's own colour a single line would be lost.
    for (const [patch, width] of [[this.hover, 2 * ratio], [this.patch, 3 * ratio]]) {
      if (!patch) continue;
      this.frameAround(context, patch, cell, gap, width + 4 * ratio, "white");
      this.frameAround(context, patch, cell, gap, width, accent);
    }
    this.enlarge(this.hover ?? this.patch, from);
  }

  frameAround(context, [row, col], cell, gap, width, color) {
    const inset = gap / 2;
    context.lineWidth = width;
    context.strokeStyle = color;
    context.strokeRect(col * cell + inset, row * cell + inset, cell - 2 * inset, cell - 2 * inset);
  }

  /** The patch's own pixels, each a visible square. */
  enlarge([row, col], from) {
    const side = Math.round(from);
    this.one.width = this.one.height = side;
    this.one.getContext("2d").drawImage(this.image, col * from, row * from, from, from, 0, 0, side, side);
    const words = [
      `patch (${row}, ${col})`,
      `row ${row} and column ${col}, counted from 0: pixels ${row * side}–${(row + 1) * side - 1} down, ` +
        `${col * side}–${(col + 1) * side - 1} across`,
      `${side} × ${side} pixels × 3 colours = ${(side * side * 3).toLocaleString("en")} numbers`,
    ];
    const readout = this.part("readout");
    if (readout.dataset.words === words.join()) return;
    readout.dataset.words = words.join();
    const name = document.createElement("b");
    name.textContent = words[0];
    readout.replaceChildren(name, ...words.slice(1).flatMap((text) => [text, document.createElement("br")]));
    this.one.setAttribute("aria-label", `${words[0]} enlarged`);
    const [rows, cols] = this.grid;
    this.all.setAttribute("aria-label", `The photo as ${rows} by ${cols} patches; picked: (${this.patch}). Arrow keys move it.`);
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const [picker, end] = mounted(parentElement, () => new Picker(parentElement));
  picker.onPick = (patch) => setTriggerValue("patch", patch);
  picker.update(data);
  return end;
}
