"""The theme's colours can be read: contrast as WCAG 2.2 measures it, on every ground of the app, light and dark."""

import tomllib

import pytest

from tests.conftest import REPOSITORY

READABLE = 4.5  # WCAG 2.2, 1.4.3, level AA
CAPTION = 0.6  # Streamlit draws captions with this share of the text's colour
TINT = 0.1  # and the picked button of a row on this share of the accent
THEME = tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text())["theme"]


def channels(color: str) -> tuple[float, ...]:
    return tuple(int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))


def mixed(color: tuple[float, ...], ground: tuple[float, ...], share: float) -> tuple[float, ...]:
    return tuple(share * top + (1 - share) * below for top, below in zip(color, ground, strict=True))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    def luminance(color: tuple[float, ...]) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_captions_accent_and_links_are_readable_on_every_ground(scheme):
    theme = THEME[scheme]
    grounds = {theme["backgroundColor"], theme["sidebar"]["backgroundColor"]}
    text, accent, link = (channels(theme[name]) for name in ("textColor", "primaryColor", "linkColor"))
    for ground in map(channels, grounds):
        seen = {
            "text": contrast(text, ground),
            "caption": contrast(mixed(text, ground, CAPTION), ground),
            "accent": contrast(accent, ground),
            "accent on its tint": contrast(accent, mixed(accent, ground, TINT)),
            "link": contrast(link, ground),
        }
        assert min(seen.values()) >= READABLE, seen


def test_black_on_white_is_as_far_apart_as_it_goes():
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
