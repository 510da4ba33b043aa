// Stands before the script of each component that keeps something between its calls.

/** @typedef {{ root: Node, destroy: () => void }} Kept */

/** Of each mounted component. @type {WeakMap<Node, Kept>} */
const mountedViews = new WeakMap();

/**
 * What was made for this component, and made again where Streamlit has drawn its markup afresh; beside it the clean-up
 * to return to Streamlit.
 * @template {Kept} Made
 * @param {Node} parentElement
 * @param {() => Made} make
 * @returns {[Made, () => void]}
 */
function mounted(parentElement, make) {
  let made = /** @type {Made | undefined} */ (mountedViews.get(parentElement));
  if (!made || !parentElement.contains(made.root)) {
    made?.destroy();
    made = make();
    mountedViews.set(parentElement, made);
  }
  const view = made;
  const end = endWhenGone(view.root, () => {
    view.destroy();
    mountedViews.delete(parentElement);
  });
  return [view, end];
}

// The clean-up to return to Streamlit: end() once the element has left the page. Streamlit also cleans up after a call
// that a newer one overtakes, at times before the newer one has begun, and what is drawn must outlive that.
function endWhenGone(element, end) {
  return () =>
    setTimeout(() => {
      if (!element.isConnected) end();
    });
}
