// Two live pictures of one photo: what the mouse or a click asks of one is asked of the other, at the same place.

/** Heading and payload of each side, every part after its length in eight bytes. */
function split(bytes) {
  const parts = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(new DataView(bytes.buffer, bytes.byteOffset + at, 8).getBigUint64(0, true));
    parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return [[parts[0], parts[1]], [parts[2], parts[3]]];
}

/** The patch of another grid under the middle of this one; a token's name stays. */
function matching(query, from, to) {
  return Array.isArray(query) ? query.map((at, axis) => Math.floor(((at + 0.5) / from[axis]) * to[axis])) : query;
}

class Pair {
  constructor(root) {
    this.headings = [...root.querySelectorAll("[data-heading]")];
    this.views = [...root.querySelectorAll("[data-side]")].map((side) => new LiveView(side));
    this.root = this.views[0].root;
    /** @type {(change: { query: any, seq: number }) => void} */
    this.onChange = () => {};
    this.views.forEach((view, side) => this.link(view, this.views[1 - side], side));
  }

  link(view, other, side) {
    const follow = () => {
      if (!view.data || !other.data) return;
      other.hover = matching(view.hover, view.data.grid, other.data.grid);
      other.reading = view.reading;
      other.schedule();
    };
    for (const type of ["pointermove", "pointerdown", "pointerleave", "pointercancel"]) {
      view.picture.addEventListener(type, follow);
    }
    view.onChange = ({ query, seq }) => {
      other.set({ query: matching(query, view.data.grid, other.data.grid) }, false);
      const first = side === 0 ? query : matching(query, view.data.grid, other.data.grid);
      this.onChange({ query: first, seq });
    };
  }

  update(bytes) {
    split(bytes).forEach(([heading, payload], side) => {
      this.headings[side].textContent = new TextDecoder().decode(heading);
      this.views[side].update(payload);
    });
  }

  destroy() {
    this.views.forEach((view) => view.destroy());
  }
}

export default function ({ data, parentElement, setStateValue }) {
  const [pair, end] = mounted(parentElement, () => new Pair(parentElement));
  pair.onChange = (change) => setStateValue("view", change);
  if (data) pair.update(data);
  return end;
}
