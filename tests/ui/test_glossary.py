"""Marked words become buttons that open their meaning."""

import ast
import re

import pytest

from explorer.ui.glossary import TERMS, with_terms
from tests.conftest import REPOSITORY


def test_a_marked_word_opens_its_meaning_in_any_form():
    html = with_terms("It has **[[patches|patch]]** and a [[query]].")
    opened, ids = re.findall(r'popovertarget="([^"]+)"', html), re.findall(r' id="([^"]+)"', html)
    assert opened == ids and len(set(ids)) == 2
    assert ">patches</button>" in html and ">query</button>" in html
    assert html.startswith("It has **<button") and html.endswith(".")
    assert all(TERMS[term] in html for term in ("patch", "query"))


def test_two_texts_on_a_page_share_no_id():
    one, other = (re.findall(r' id="([^"]+)"', with_terms(text)) for text in ("A [[head]].", "Each [[head]]."))
    assert not set(one) & set(other)


def test_a_word_without_a_meaning_is_refused():
    with pytest.raises(KeyError):
        with_terms("a [[norm]]")


def test_every_meaning_is_used_and_every_mark_has_one():
    """In all texts of the pages, also those that only a browser shows."""
    files = [*(REPOSITORY / "pages").glob("*.py"), *(REPOSITORY / "explorer" / "ui").rglob("*.py")]
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8"))))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    marks = [mark for text in texts for mark in re.findall(r"\[\[([\w|]+)\]\]", text)]
    assert {mark.split("|")[-1].lower() for mark in marks} == set(TERMS)
