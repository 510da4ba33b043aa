// The Streamlit side: one view per mounted component, kept over reruns.

const views = new WeakMap();

/** Where the server answers for a path such as /media/…: below the folder from which the app's own scripts came. */
function served(path) {
  const own = /** @type {HTMLScriptElement | null} */ (document.querySelector('script[type="module"][src*="static/js/"]'));
  return new URL(path.slice(1), own ? new URL("../../", own.src) : location.origin).href;
}

export default function ({ data, parentElement, setTriggerValue }) {
  let view = views.get(parentElement);
  if (!view || !parentElement.contains(view.root)) {
    view?.destroy();
    view = new LiveView(parentElement);
    view.fetchFile = (path) => fetchOnce(served(path));
    views.set(parentElement, view);
  }
  // Of what is still under way when a person goes to another page, Streamlit keeps triggers alone.
  view.onChange = (change) => setTriggerValue("view", change);
  if (data) view.update(data);
  return endWhenGone(view.root, () => {
    view.destroy();
    views.delete(parentElement);
  });
}
