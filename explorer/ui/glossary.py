"""The field's terms, explained where a page first uses them: a dotted word opens a sentence by click or Enter."""

import hashlib
import re
from html import escape

import streamlit as st

_MEANINGS = (
    (
        "patch",
        "A small square of the photo. The model reads a photo patch by patch, as people read a text word by word.",
    ),
    (
        "token",
        "A list of numbers that stands for one patch, or for something else that the model keeps, such as cls. "
        "Every layer reads all tokens and changes them.",
    ),
    ("cls", "The class token: one extra token that is no patch. In it the model gathers what the whole photo shows."),
    ("layer", "One of the model's steps, which follow one another. In each, tokens look at one another, then change."),
    ("head", "One of several ways of looking within a layer. Every head shares out its own attention."),
    ("query", "The token that asks: the one whose attention is shown. Point at a patch, and that patch is the query."),
    ("attention", "How much a token takes from each of the tokens in one layer: shares that add up to 100 %."),
    ("rollout", "Attention followed through all layers, from the last one down to the patches (Abnar & Zuidema 2020)."),
    (
        "relevance",
        "Which patches speak for a class: attention weighted by what it does to that class's score "
        "(Chefer et al. 2021).",
    ),
)
TERMS = dict(_MEANINGS)
_MARK = re.compile(r"\[\[([^|\]]+)(?:\|([^\]]+))?\]\]")


def explain(text: str, small: bool = False) -> None:
    """Show Markdown in which [[patch]], or [[patches|patch]] for another form of the word, opens what TERMS says.

    text: the app's own words alone, since HTML in it is shown as such; small: as a caption.
    """
    (st.caption if small else st.markdown)(with_terms(text), unsafe_allow_html=True)


def with_terms(text: str) -> str:
    """The text with each mark as a button and the popover that it opens; no other page text has the same ids."""
    place = hashlib.sha256(text.encode()).hexdigest()[:8]

    def button(match: re.Match[str]) -> str:
        word, term = match[1], match[2] or match[1].lower()
        name = f"term-{term}-{place}"
        return (
            f'<button type="button" class="term" popovertarget="{name}">{escape(word)}</button>'
            f'<span popover class="meaning" id="{name}" role="note"><b>{escape(term)}</b> {escape(TERMS[term])}</span>'
        )

    return _MARK.sub(button, text)
