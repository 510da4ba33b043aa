"""What the Evidence tab says of the ranking, on scores made by hand and on a mask in the middle."""

import pytest
from PIL import Image

from explorer.attention.localization import Score
from explorer.errors import ImageError
from explorer.ui.evidence_tab import check_shape, verdict
from tests.app import open_app, sentences

HEAD, PRIOR = Score(2, 1, 0.7, 0.4, 1.0), Score(None, "centre prior", 0.8, 0.5, 1.0)


def test_a_prior_that_beats_every_head_is_said_so():
    said = verdict([PRIOR, HEAD])
    assert said.startswith("Best: **layer 2, head 1** with AUC 0.700.") and "beats every head with AUC 0.800" in said


def test_a_prior_that_loses_is_not_worth_a_word():
    assert "prior" not in verdict([HEAD, Score(None, "centre prior", 0.6, 0.5, 1.0)])


@pytest.mark.usefixtures("checkpoints")
def test_the_tab_names_the_best_head():
    app = open_app("attention", tab="Evidence")
    assert not app.exception and not sentences(app)
    assert [said for said in app.markdown if said.value.startswith("Best: **layer")]


def test_a_mask_lies_on_its_photo_at_any_size_but_not_in_another_shape():
    photo = Image.new("RGB", (640, 481))
    check_shape(Image.new("RGB", (320, 240)), photo)
    with pytest.raises(ImageError, match="481 × 640 pixels and the photo 640 × 481"):
        check_shape(Image.new("RGB", (481, 640)), photo)
