// What the live canvas drew last, for a component that comes to the page after it.
window.addEventListener("drawn", (event) => (window.lastDrawn = /** @type {CustomEvent} */ (event).detail));
