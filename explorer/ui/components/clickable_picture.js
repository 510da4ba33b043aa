// A picture of patches: the value of the one under the pointer is read out, a click or the arrow keys pick one.

export default function ({ data, parentElement, setTriggerValue }) {
  const part = (name) => parentElement.querySelector(`[data-part="${name}"]`);
  const [frame, picture, box, hover, readout] = ["frame", "picture", "box", "hover", "readout"].map(part);
  const { grid, values, patch, pickable, alt } = data;
  const [rows, cols] = grid;

  const mark = (element, at) => {
    element.hidden = !at;
    if (!at) return;
    Object.assign(element.style, { left: `${(100 * at[1]) / cols}%`, top: `${(100 * at[0]) / rows}%` });
    Object.assign(element.style, { width: `${100 / cols}%`, height: `${100 / rows}%` });
  };
  const read = (at) => {
    mark(hover, at);
    readout.textContent = at ? `patch (${at.join(", ")}): ${values[at[0] * cols + at[1]].toFixed(3)}` : "";
    readout.classList.toggle("above", Boolean(at && at[0] >= 0.6 * rows)); // out of the pointer's way
  };
  const under = (event) => patchUnder(event, frame, grid);

  picture.src = data.src;
  frame.setAttribute("aria-label", alt);
  frame.classList.toggle("pickable", pickable);
  mark(box, patch);
  read(null);
  frame.onpointermove = (event) => read(under(event));
  frame.onpointerdown = frame.onpointermove;
  frame.onpointerleave = () => read(null);
  frame.onclick = (event) => pickable && setTriggerValue("patch", under(event));
  frame.onkeydown = (event) => {
    const picked = pickable && patchByKey(event, patch ?? [0, 0], grid);
    if (picked) setTriggerValue("patch", picked);
  };
}
