// Thumbnails as a radio group: a click or an arrow key picks one.

/** @type {WeakMap<Element, string>} */
const shown = new WeakMap(); // strip -> its photos as text
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

export default function ({ data, parentElement, setTriggerValue }) {
  const strip = parentElement.querySelector(".strip");
  const mark = (key) => {
    for (const button of strip.children) {
      const picked = button.dataset.key === key;
      button.setAttribute("aria-checked", picked);
      button.tabIndex = picked ? 0 : -1; // one stop for the Tab key, arrows inside
    }
  };
  const pick = (button) => {
    mark(button.dataset.key);
    button.focus();
    setTriggerValue("picked", button.dataset.key);
  };

  strip.style.setProperty("--side", `${data.side}px`);
  show(strip, data.photos);
  mark(data.picked);
  reveal(strip);
  strip.onclick = (event) => {
    const button = event.target.closest("button");
    if (button) pick(button);
  };
  strip.onkeydown = (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...strip.children];
    const at = buttons.indexOf(event.target);
    pick(buttons[(at + step + buttons.length) % buttons.length]);
  };
}

/** Thumbnails that are there already stay: a click begun on one that is replaced before it ends would be lost. */
function show(strip, photos) {
  const names = JSON.stringify(photos);
  if (shown.get(strip) === names) return;
  const focused = strip.getRootNode().activeElement?.dataset?.key;
  shown.set(strip, names);
  strip.replaceChildren(...photos.map(thumbnail));
  if (focused) [...strip.children].find((button) => button.dataset.key === focused)?.focus();
}

/** Scroll the picked photo into the strip's own view, and nothing else: the page stays where it is. */
function reveal(strip) {
  const picked = strip.querySelector('[aria-checked="true"]');
  if (!picked) return;
  const [box, frame] = [picked.getBoundingClientRect(), strip.getBoundingClientRect()];
  if (box.bottom > frame.bottom) strip.scrollTop += box.bottom - frame.bottom + 8;
  if (box.top < frame.top) strip.scrollTop -= frame.top - box.top + 8;
}

function thumbnail(photo) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.key = photo.key;
  button.setAttribute("role", "radio");
  button.setAttribute("aria-label", photo.title);
  button.title = photo.title;
  button.classList.toggle("faded", photo.faded);
  const image = document.createElement("img");
  image.src = photo.src;
  image.alt = "";
  button.append(image);
  return button;
}
