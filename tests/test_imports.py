"""Libraries that take seconds to import come with the pages that need them alone: asked of fresh interpreters."""

import pytest

from benchmarks.imports import MAIN, imports_of, measure
from explorer.ui.navigation import entries, path

pytestmark = pytest.mark.slow

ENTRIES = {entry.name: entry for entry in entries()}


def test_home_is_there_without_any_of_them():
    names = imports_of(MAIN, path(ENTRIES["home"]))
    assert "explorer.ui.sidebar" in names and "explorer.ui.home.picture" in names
    assert measure(names)[1] == []


def test_no_page_imports_transformers_and_scikit_learn_only_those_that_score():
    """Attention has the bench on your photos, Fine-tune and Evaluate their results."""
    score = ("attention", "finetune", "evaluate")
    names = [name for entry in entries() if entry.name not in score for name in imports_of(MAIN, path(entry))]
    assert not {"transformers", "sklearn"} & set(measure(names)[1])
    names = [name for name in score for name in imports_of(MAIN, path(ENTRIES[name]))]
    assert "transformers" not in measure(names)[1]
