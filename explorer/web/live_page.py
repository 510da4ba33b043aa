"""The live canvas in one HTML file: hovering works offline, with nothing to install."""

import base64
from html import escape
from string import Template
from typing import TYPE_CHECKING

from safetensors.numpy import load

from explorer.attention.maps.table import MAP_KINDS
from explorer.errors import QueryError
from explorer.rendering.figures import title
from explorer.rendering.view import View
from explorer.web.payload import BYTE_LIMIT, canvas_markup, canvas_payload, canvas_script

if TYPE_CHECKING:
    from explorer.attention.recording import Recording

# q and k in float32 up to here, so that with the image and base64's third more the file stays below 5 MB.
SMALL = 3_400_000
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="vit-explorer">
<meta name="explorer" content="$settings">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 24px; max-width: 1180px; font-family: system-ui, sans-serif; }
body { background: var(--st-background-color, #ffffff); color: var(--st-text-color, #1c1917); }
h1 { font-size: 20px; margin: 0 0 16px; }
@media (prefers-color-scheme: dark) {
  :root {
    --st-primary-color: #fb923c; --st-text-color: #f5f5f4; --st-background-color: #171412;
    --st-secondary-background-color: #292524; --st-border-color: rgba(168, 162, 158, 0.35);
  }
}
$css
</style>
</head>
<body>
<h1>$title</h1>
$markup
<script id="payload" type="application/octet-stream;base64">$payload</script>
<script type="module">
$script
const packed = atob(document.getElementById("payload").textContent);
const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
new LiveView(document.body).update(bytes);
</script>
</body>
</html>
""")


def live_page(view: View, recording: "Recording") -> str:
    """The view's layer as a page of its own, which asks no server for anything.

    q and k are kept in float32 where the file stays below 5 MB, else in float16. Raises QueryError for a kind of
    map that the page can't compute under the mouse.
    """
    if not view.map.row.live:
        live = " and ".join(name for name, kind in MAP_KINDS.items() if kind.live)
        raise QueryError(f"The live page shows {live}, not {view.map.kind}: save a PNG, NPZ or figure of it.")
    payload = canvas_payload(recording, view, limit=SMALL)
    if "k" not in load(payload):
        payload = canvas_payload(recording, view, limit=BYTE_LIMIT)
    markup, css = canvas_markup()
    return PAGE.substitute(
        title=escape(title(view, recording)),
        settings=escape(view.to_json(), quote=True),
        css=css,
        markup=markup,
        script=canvas_script(),
        payload=base64.b64encode(payload).decode(),
    )
