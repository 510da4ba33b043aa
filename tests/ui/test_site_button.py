import pytest
from streamlit.testing.v1 import AppTest

from explorer.models import onnx

PAGE = """
from explorer.ui.attention.share import site_button
site_button(lambda: None, "model", "page")
"""


@pytest.mark.parametrize(("installed", "buttons"), [(True, 1), (False, 0)])
def test_the_page_of_a_model_is_offered_only_where_it_can_be_made(monkeypatch, installed, buttons):
    monkeypatch.setattr(onnx, "find_spec", lambda name: object() if installed else None)
    app = AppTest.from_string(PAGE).run()
    assert len(app.get("download_button")) == buttons
    said = [caption.value for caption in app.caption]
    assert ["pip install onnx onnxscript" in sentence for sentence in said] == [True] * (1 - buttons)
