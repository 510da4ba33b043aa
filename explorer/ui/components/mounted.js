// Stands before the script of each component that keeps something between its calls.

// The clean-up to return to Streamlit: end() once the element has left the page. Streamlit also cleans up after a call
// that a newer one overtakes, at times before the newer one has begun, and what is drawn must outlive that.
function endWhenGone(element, end) {
  return () =>
    setTimeout(() => {
      if (!element.isConnected) end();
    });
}
