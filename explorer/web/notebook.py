"""How results are displayed in a Jupyter or Colab cell: frames of HTML that need no server.

`import explorer` in a notebook registers them with IPython by the names of their classes, so that nothing is imported
before the first one is shown.
"""

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from explorer.words import percent

if TYPE_CHECKING:
    from explorer.attention.divergence import Divergence
    from explorer.attention.recording import Recording
    from explorer.rendering.view import View
    from explorer.training.finetune import Result

FRAME = '<iframe srcdoc="{}" style="width:100%;height:{}px;border:0" sandbox="allow-scripts" title="{}"></iframe>'
ALL_LAYERS = 4 * 2**20  # bytes of q and k of all layers in a cell, which a notebook keeps, up to here
CELL = 26  # pixels of a cell of the divergence's table


def register(shell: Any) -> None:
    """Have an IPython shell show recordings, divergences and runs; in a terminal it goes on printing their text."""
    html = shell.display_formatter.formatters["text/html"]
    for module, name, show in SHOWN:
        html.for_type_by_name(module, name, show)


def recording_html(recording: "Recording", view: "View | None" = None) -> str:
    """The live canvas in a frame, at first of that view, by default of the last layer."""
    from explorer.rendering.view import PhotoInput, View
    from explorer.web.live_page import live_page

    view = view or View(recording.model.source, PhotoInput("photo"))
    return frame(live_page(view, recording, limit=ALL_LAYERS), 760, f"Attention of {recording.model_name}, live")


def divergence_html(found: "Divergence") -> str:
    """A table of layers and heads, the more changed the more orange, with the bits as numbers."""
    heads = "".join(f"<th>{escape(str(head))}</th>" for head in found.heads)
    rows = "".join(
        f"<tr><th>{first}</th>{''.join(_cell(float(bits)) for bits in row)}</tr>"
        for (first, _), row in zip(found.layers, found.table, strict=True)
    )
    caption = "<caption>Jensen-Shannon divergence in bits, layer by head</caption>"
    return f"<table>{caption}<tr><th></th>{heads}</tr>{rows}</table>"


def result_html(result: "Result") -> str:
    """What a training ended with: its numbers, and its curves in a frame."""
    text = f"<p><b>{escape(result.run_dir.name)}</b>: {escape(result.status)}</p>"
    before, after = result.metrics.get("baseline", {}), result.metrics
    rows = [
        f"<tr><th>{name}</th><td>{_percent(before.get(key))}</td><td>{_percent(after.get(key))}</td></tr>"
        for key, name in {"accuracy": "Accuracy", "f1_macro": "F1, macro"}.items()
        if key in after
    ]
    if rows:
        text += f"<table><tr><th></th><th>before</th><th>after</th></tr>{''.join(rows)}</table>"
    curves = result.run_dir / "curves.html"
    return text + (frame(curves.read_text("utf-8"), 980, "Curves of the training") if curves.is_file() else "")


def frame(page: str, height: int, title: str) -> str:
    """A page of its own inside another one, cut off from it."""
    return FRAME.format(escape(page, quote=True), height, escape(title, quote=True))


def _cell(bits: float) -> str:
    return f'<td style="width:{CELL}px;background:rgba(240,120,20,{min(1.0, bits):.3f})">{bits:.2f}</td>'


def _percent(share: float | None) -> str:
    return "" if share is None else percent(share)


SHOWN: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("explorer.attention.recording", "Recording", recording_html),
    ("explorer.attention.divergence", "Divergence", divergence_html),
    ("explorer.training.finetune", "Result", result_html),
)
