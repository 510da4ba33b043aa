// What the live canvas drew last, for a component that comes to the page after it.
window.addEventListener("drawn", (/** @type {CustomEvent} */ event) => (window.lastDrawn = event.detail));
