import base64
import re
import tomllib

from explorer.web import first_picture
from explorer.web.welcome import first_page, with_first_picture
from tests.conftest import REPOSITORY


def test_the_frame_shows_the_picture_that_home_begins_with():
    page, first = first_page(), first_picture.read()
    payload = re.search(r'<script id="payload"[^>]*>([^<]*)</script>', page)
    assert payload and base64.b64decode(payload[1]) == first.payload(first.default_query, seq=0)
    assert "[[" not in page and "<b>patches</b>" in page


def test_it_stands_once_at_the_end_of_streamlits_page():
    index = with_first_picture("<html><body><div></div></body></html>")
    assert re.fullmatch(r"<html><body><div></div>.*<iframe.*</iframe>.*</body></html>", index, re.DOTALL)


def test_its_colours_are_the_themes():
    theme = tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text())["theme"]
    light, dark = re.findall(
        r":root \{\n(  --st-primary[^}]*|    --st-primary-color: #fb923c; --st-text-color: #f1[^}]*)\}", first_page()
    )
    for css, colours in ((light, theme["light"]), (dark, theme["dark"])):
        for name, key in (
            ("primary", "primaryColor"), ("text", "textColor"), ("background", "backgroundColor"),
            ("secondary-background", "secondaryBackgroundColor"), ("border", "borderColor"),
        ):  # fmt: skip
            assert f"--st-{name}-color: {colours[key]};" in css
        assert f"--side: {colours['sidebar']['backgroundColor']};" in css
