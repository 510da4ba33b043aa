"""Words beside a live canvas that say what it shows and follow the mouse."""

from streamlit.components.v2 import component

from explorer.ui.components import asset, script

_component = component(
    "vit_words", html='<p data-part="words"></p>', css=asset("words.css"), js=script(asset("words.js"))
)


def words(grid: tuple[int, int], depth: int) -> None:
    """Mount them; they follow the canvas on this page. grid: (rows, cols); depth: layers of the model."""
    _component(key="words", data={"cols": grid[1], "depth": depth})
