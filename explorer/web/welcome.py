"""What a browser shows before Streamlit is ready: Home's title and the app's first picture, live under the mouse.

It is a page of its own in a frame over Streamlit's, in the same places, and goes once Home's own picture is drawn.
"""

import re

from explorer.web import first_picture
from explorer.web.canvas_page import canvas_page
from explorer.web.payload import FEW_TOOLS

TITLE = "See where a Vision Transformer looks"
INTRO = (  # [[word]] or [[shown|word]]: of the glossary
    "A Vision Transformer cuts the photo into squares, called [[patches|patch]]. Point at one: bright patches are the "
    "ones it looks at, its [[attention]]. Then drop a photo of your own into the sidebar."
)
_INTRO = re.sub(r"\[\[(?:([^]|]*)\|)?([^]|]*)\]\]", lambda word: f"<b>{word[1] or word[2]}</b>", INTRO)
LOGIN = "log_in"  # key of what asks to log in
PAGE = "first-picture.html"  # the frame's address, beside the app's own
# Streamlit's index.html gets these lines at its end. Whatever a page says comes before the picture: an error, a dialog,
# a login, or nothing for long.
_FRAME = f"""
<style>
#first-picture {{ position: fixed; inset: 0; z-index: 1000000; width: 100%; height: 100%; border: 0; }}
#first-picture {{ background: #fffdfa; color-scheme: light dark; }}
@media (prefers-color-scheme: dark) {{ #first-picture {{ background: #141211; }} }}
</style>
<iframe id="first-picture" src="./{PAGE}" title="{TITLE}"></iframe>
<script>
(() => {{
  const frame = document.getElementById("first-picture");
  const end = () => (frame.remove(), clearInterval(watch));
  const said = "[data-testid=stAlert], [data-testid=stException], [data-testid=stDialog], .st-key-{LOGIN}";
  const watch = setInterval(() => document.querySelector(said) && end(), 200);
  // A moment later, when what is around Home's picture has found its place.
  window.addEventListener("drawn", () => setTimeout(end, 300), {{ once: true }});
  setTimeout(end, 60000);
}})();
</script>
"""
# Colours of .streamlit/config.toml; places of Home, with the sidebar at its left from 768 px on.
_CSS = f"""
:root {{
  --st-primary-color: #b43a0a; --st-text-color: #171411; --st-background-color: #fffdfa;
  --st-secondary-background-color: #f5f1ea; --st-border-color: #e2dbd0; --st-base-radius: 10px; --side: #f8f4ee;
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --st-primary-color: #fb923c; --st-text-color: #f1ece6; --st-background-color: #141211;
    --st-secondary-background-color: #24201d; --st-border-color: #3b3530; --side: #1b1816;
  }}
}}
body {{ max-width: none; padding: 92px 16px 0; font: 16px/1.6 "Source Sans", system-ui, sans-serif; }}
h1 {{ font: 600 41.6px/1.2 "Source Serif", serif; margin: 0 0 16px; }}
.intro {{ margin: 0 0 16px; }}
{FEW_TOOLS}
@media (min-width: 768px) {{
  body {{ padding: 92px 80px 0 380px; background: linear-gradient(90deg, var(--side) 300px, transparent 300px); }}
  .live {{ width: calc(60% - 32px); }}
}}
"""


def with_first_picture(index: str) -> str:
    """Streamlit's index.html with the first picture over it until Home has its own."""
    return index.replace("</body>", f"{_FRAME}</body>")


def first_page(fonts: str = "") -> str:
    """The page in the frame; fonts: CSS that declares Source Sans and Source Serif."""
    first = first_picture.read()
    payload = first.payload(first.default_query, seq=0)
    return canvas_page(TITLE, payload, intro=f'<p class="intro">{_INTRO}</p>', css=fonts + _CSS)
