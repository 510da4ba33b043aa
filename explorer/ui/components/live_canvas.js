// The Streamlit side: one view per mounted component, kept over reruns.

/** Where the server answers for a path such as /media/…: below the folder from which the app's own scripts came. */
function served(path) {
  const own = /** @type {HTMLScriptElement | null} */ (document.querySelector('script[type="module"][src*="static/js/"]'));
  return new URL(path.slice(1), own ? new URL("../../", own.src) : location.origin).href;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const [view, end] = mounted(parentElement, () => new LiveView(parentElement));
  view.fetchFile = (path) => fetchOnce(served(path));
  // Of what is still under way when a person goes to another page, Streamlit keeps triggers alone.
  view.onChange = (change) => setTriggerValue("view", change);
  if (data) view.update(data);
  return end;
}
