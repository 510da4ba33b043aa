// On a phone the sidebar covers most of the page: it starts closed, and closes once a page or a photo was chosen in it.
if (!window.sidebarCloses) {
  window.sidebarCloses = true;
  const narrow = matchMedia("(max-width: 767.98px)");
  const open = '[data-testid="stSidebar"][data-collapsed="false"] [data-testid="stSidebarCollapseButton"] button';
  const close = () => narrow.matches && /** @type {HTMLElement | null} */ (document.querySelector(open))?.click();

  // Thumbnails lie in a component's shadow: only the whole path of an event shows what was hit.
  const chosen = '[data-testid="stSidebarNavLink"], .strip button, .st-key-choose_photo input[type="file"]';
  const isChoice = (event) => event.composedPath().some((part) => part instanceof Element && part.matches(chosen));
  addEventListener("click", (event) => isChoice(event) && setTimeout(close));
  addEventListener("change", (event) => isChoice(event) && setTimeout(close));

  close(); // Streamlit opens it where it was left open at the last visit
}
