// Groups of buttons of which one is chosen, as radio buttons are.

/**
 * A button that is one of several choices.
 * @template T
 * @param {T} value
 * @param {string} text
 * @param {string} title
 * @param {(value: T) => void} pick
 */
export function choice(value, text, title, pick) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("role", "radio");
  button.dataset.value = String(value);
  button.textContent = text;
  button.title = title;
  button.addEventListener("click", () => pick(value));
  return button;
}

/** Mark one button of a group as the chosen one; Tab reaches only that one, or the first where none is chosen. */
export function check(group, value) {
  const buttons = [...group.querySelectorAll("[role=radio]")];
  const chosen = buttons.find((button) => button.dataset.value === String(value));
  for (const button of buttons) {
    button.setAttribute("aria-checked", button === chosen);
    button.tabIndex = button === (chosen ?? buttons[0]) ? 0 : -1;
  }
}

/** Arrow keys walk through a group of choices, as in any group of radio buttons. */
export function walk(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const buttons = [...event.currentTarget.querySelectorAll("[role=radio]")];
  const at = buttons.indexOf(event.target);
  if (!step || at < 0) return;
  event.preventDefault();
  const next = buttons[(at + step + buttons.length) % buttons.length];
  next.focus();
  next.click();
}
