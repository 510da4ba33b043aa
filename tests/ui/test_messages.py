"""What the app says of what people and files call things: as it is written, on one line, never all of a long text."""

from explorer.errors import ModelError
from explorer.ui.messages import plain, sentence_of


def test_a_name_is_shown_as_it_is_written():
    name = "*a* [b](c) :red[d] $e$ `f`\n# g"
    shown = plain(name)
    assert "\n" not in shown and shown.replace("\\", "") == name.replace("\n", " ")
    assert all(shown[at - 1] == "\\" for at, letter in enumerate(shown) if letter in "*[]:$`#")


def test_of_a_very_long_sentence_the_beginning_and_the_remedy_are_shown():
    error = ModelError(f"'{'x' * 5000}' isn't a model id: type one of timm.")
    shown = sentence_of(error)
    assert len(shown) < 1000 and shown.startswith("'xxx") and shown.endswith("type one of timm.")
    assert sentence_of(ModelError("Short\nand plain.")) == "Short and plain."
