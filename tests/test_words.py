"""Numbers and lists as people write them."""

import pytest

from explorer.words import count_in_words, duration_in_words, list_in_words, size_in_words, text_cell


@pytest.mark.parametrize("seconds, text", [(0.2, "1 s"), (45, "45 s"), (200, "3 min"), (7500, "2 h 05 min")])
def test_durations(seconds, text):
    assert duration_in_words(seconds) == text


@pytest.mark.parametrize("size, text", [(10, "1 MB"), (11_400_000, "11 MB"), (1_340_000_000, "1.3 GB")])
def test_sizes(size, text):
    assert size_in_words(size) == text


def test_a_size_that_grows_has_digits():
    assert [size_in_words(size, 1) for size in (40_000, 2_097_152, 1_340_000_000)] == ["0.0 MB", "2.1 MB", "1.3 GB"]


@pytest.mark.parametrize("count, text", [(0, "0 photos"), (1, "1 photo"), (2145, "2,145 photos")])
def test_counts(count, text):
    assert count_in_words(count, "photo") == text


@pytest.mark.parametrize("names, text", [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")])
def test_lists(names, text):
    assert list_in_words(names, "or") == text


@pytest.mark.parametrize("number", ["-1", "+1.5", "-.5e-3", "plain", "a=b", "1-2"])
def test_numbers_and_plain_texts_are_cells_as_they_are(number):
    assert text_cell(number) == number


@pytest.mark.parametrize("text", ["=1+1", "-1_0", "+inf", "-nan", "@sum", "\t=1", "＝1", "-١", "-1+1", "-"])
def test_what_a_spreadsheet_may_run_is_marked_as_text(text):
    assert text_cell(text) == f"'{text}"
