"""An HTML page that holds the canvas, its script and its data, and fetches nothing."""

import base64
from html import escape
from string import Template

from explorer.web.payload import canvas_markup, canvas_script

_PAGE = Template("""<!doctype html>
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
$intro
$markup
<script id="payload" type="application/octet-stream;base64">$payload</script>
$layers
<script type="module">
$script
const decode = (element) => Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
const view = new LiveView(document.body);
view.update(decode(document.getElementById("payload")));
for (const layer of document.querySelectorAll("script[data-file]")) {
  await new Promise((resolve) => setTimeout(resolve)); // the first picture comes before the other layers
  view.addLayer(decode(layer));
  layer.remove();
}
</script>
</body>
</html>
""")


def canvas_page(
    title: str, payload: bytes, layers: tuple[bytes, ...] = (), settings: str = "", intro: str = "", css: str = ""
) -> str:
    """The page.

    payload: of canvas_payload(); layers: files of those that it lacks, which come after the first picture; settings:
    kept in the page's head; intro: HTML below the title; css: rules of this page alone.
    """
    markup, canvas_css = canvas_markup()
    return _PAGE.substitute(
        title=escape(title),
        settings=escape(settings, quote=True),
        css=canvas_css + css,
        intro=intro,
        markup=markup,
        script=canvas_script(),
        payload=base64.b64encode(payload).decode(),
        layers="\n".join(_file(content) for content in layers),
    )


def _file(content: bytes) -> str:
    return f'<script data-file type="application/octet-stream;base64">{base64.b64encode(content).decode()}</script>'
