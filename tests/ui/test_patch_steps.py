"""The words of the Patches page fit the model: with no token of its own, one, or several."""

import pytest

from explorer.ui.patches.steps import why_prefix


@pytest.mark.parametrize(
    ("prefix", "said", "unsaid"),
    [
        ((), "no token of its own", "cls"),
        (("cls",), "The prefix token stands for no patch", "registers"),
        (("cls", "dist"), "and dist does the same with a teacher's help", "registers"),
        (("cls", "reg1", "reg2"), "and registers (reg1 …) give the layers a place", "teacher"),
    ],
)
def test_one_sentence_on_the_tokens_before_the_patches(prefix, said, unsaid):
    sentence = why_prefix(prefix)
    assert said in sentence and unsaid not in sentence
    assert sentence.endswith(".") and ". " not in sentence
