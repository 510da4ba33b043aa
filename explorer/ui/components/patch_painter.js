// A picture whose patches are painted out: a click or a stroke takes patches out, another puts them back.

class Painter {
  constructor(root) {
    /** @type {(name: string) => any} */
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.root = this.frame = this.part("frame");
    this.marks = this.part("marks");
    this.grid = [1, 1];
    /** @type {Set<string>} */
    this.out = new Set();
    /** @type {Patch | null} */
    this.at = null;
    /** @type {boolean | null} */
    this.taking = null; // whether the stroke under way takes patches out; null: there is none
    this.seq = 0; // number of the newest stroke
    /** @type {(stroke: { patches: Patch[], seq: number }) => void} */
    this.onPaint = () => {};
    this.stop = new AbortController();
    const on = (type, handle) => this.frame.addEventListener(type, handle, { signal: this.stop.signal });
    on("pointerdown", (event) => this.begin(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", () => this.end());
    on("pointercancel", () => this.end());
    on("pointerleave", () => this.taking === null && this.point(null));
    on("keydown", (event) => this.press(event));
    this.resize = new ResizeObserver(() => this.draw());
    this.resize.observe(this.frame);
  }

  destroy() {
    this.stop.abort();
    this.resize.disconnect();
  }

  update({ src, grid, patches, seq, alt }) {
    this.grid = grid;
    const picture = this.part("picture");
    if (picture.src !== src) picture.src = src;
    this.frame.setAttribute("aria-label", alt);
    if (this.taking === null && seq >= this.seq) {
      // else what is painted here is newer than what the server knew
      this.seq = seq;
      this.out = new Set(patches.map(String));
    }
    this.draw();
  }

  under(event) {
    return patchUnder(event, this.frame, this.grid);
  }

  begin(event) {
    if (event.button) return;
    this.frame.setPointerCapture(event.pointerId);
    const patch = this.under(event);
    this.taking = !this.out.has(String(patch));
    this.paint(patch);
  }

  move(event) {
    if (this.taking === null) return this.point(this.under(event));
    const passed = event.getCoalescedEvents?.() ?? []; // a quick stroke passes several patches between two events
    for (const each of passed.length ? passed : [event]) this.paint(this.under(each));
  }

  end() {
    if (this.taking === null) return;
    this.taking = null;
    this.report();
  }

  press(event) {
    const next = patchByKey(event, this.at ?? [0, 0], this.grid);
    if (next) {
      this.point(next);
    } else if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      const patch = this.at ?? /** @type {Patch} */ ([0, 0]);
      this.taking = !this.out.has(String(patch));
      this.paint(patch);
      this.end();
    }
  }

  paint(patch) {
    if (this.taking) this.out.add(String(patch));
    else this.out.delete(String(patch));
    this.point(patch);
  }

  point(patch) {
    this.at = patch;
    const name = patch && `patch (${patch.join(", ")})`;
    const count = this.out.size ? `${this.out.size} taken out` : "";
    const readout = this.part("readout");
    readout.textContent = [name, count].filter(Boolean).join(": ");
    readout.classList.toggle("above", Boolean(patch && patch[0] >= 0.6 * this.grid[0])); // out of the pointer's way
    this.draw();
  }

  report() {
    this.seq += 1;
    const patches = [...this.out].map((text) => /** @type {Patch} */ (text.split(",").map(Number)));
    this.onPaint({ patches, seq: this.seq });
  }

  draw() {
    const [rows, cols] = this.grid;
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.frame;
    this.marks.width = width * ratio;
    this.marks.height = height * ratio;
    const context = this.marks.getContext("2d");
    context.scale((width * ratio) / cols, (height * ratio) / rows);
    for (const text of this.out) this.cross(context, /** @type {[number, number]} */ (text.split(",").map(Number)), cols / width);
    if (!this.at) return;
    const [row, col] = this.at;
    for (const [color, thick] of [["white", 5], [getComputedStyle(this.frame).getPropertyValue("--accent").trim(), 2.5]]) {
      context.strokeStyle = /** @type {string} */ (color);
      context.lineWidth = (Number(thick) * cols) / width;
      context.strokeRect(col, row, 1, 1);
    }
  }

  /** A patch that isn't there: grey with a cross, on any photo. */
  cross(context, [row, col], pixel) {
    context.fillStyle = "rgb(60 60 60 / 0.92)";
    context.fillRect(col, row, 1, 1);
    context.strokeStyle = "rgb(255 255 255 / 0.75)";
    context.lineWidth = 1.25 * pixel;
    context.beginPath();
    context.moveTo(col + 0.25, row + 0.25);
    context.lineTo(col + 0.75, row + 0.75);
    context.moveTo(col + 0.75, row + 0.25);
    context.lineTo(col + 0.25, row + 0.75);
    context.stroke();
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const [painter, end] = mounted(parentElement, () => new Painter(parentElement));
  painter.onPaint = (stroke) => setTriggerValue("stroke", stroke);
  painter.update(data);
  return end;
}
