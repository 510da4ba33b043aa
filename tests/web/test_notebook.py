"""Results in a notebook: the tutorial runs, and its recordings are live frames."""

import base64
import html
import json
import re
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest
from safetensors.numpy import load

from explorer.attention.divergence import Divergence
from explorer.attention.recording import record
from explorer.data.samples import sample_photo
from explorer.web.notebook import divergence_html, recording_html
from tests.tiny import tiny_model
from tests.views import view_of

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


def test_a_recording_is_a_frame_cut_off_from_the_notebook():
    text = recording_html(record(tiny_model(), sample_photo("cat")))
    page = html.unescape(re.findall(r'srcdoc="([^"]*)"', text)[0])
    assert 'sandbox="allow-scripts"' in text and "new LiveView" in page and page.startswith("<!doctype html>")
    assert len(text) < 5e6


def test_a_recording_that_is_large_is_kept_in_half_precision(monkeypatch):
    monkeypatch.setattr("explorer.web.live_page.SMALL", 0)
    monkeypatch.setattr("explorer.web.notebook.ALL_LAYERS", 0)
    recording = record(tiny_model(), sample_photo("cat"))
    page = html.unescape(recording_html(recording, view_of(layer=1, head=2)))
    (payload,) = re.findall(r'id="payload"[^>]*>([^<]*)<', page)
    assert load(base64.b64decode(payload))["q"].dtype == np.float16 and "layer 1" in page
    assert repr(recording) == "Recording(tiny: 8 x 8 patches, 3 layers, 4 heads)"


def test_a_divergence_is_a_table_of_its_numbers():
    table = np.array([[0.0, 0.5], [1.0, 0.125]])
    text = divergence_html(Divergence(table, ((0, 0), (1, 1)), (0, "<b>")))
    assert re.findall(r">(\d\.\d\d)<", text) == ["0.00", "0.50", "1.00", "0.12"]
    assert "<b>" not in text and "0.500" in text


@pytest.mark.slow
def test_the_tutorial_runs_and_its_results_show_themselves():
    notebook = nbformat.read(TUTORIAL, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(TUTORIAL.parents[1])}}).execute()
    shown = ["".join(output.get("data", {}).get("text/html", "") for output in cell.get("outputs", []))
             for cell in notebook.cells if cell.cell_type == "code"]  # fmt: skip
    live = [text for text in shown if "new LiveView" in html.unescape(text)]
    assert len(live) == 2 and all(len(text) < 5e6 for text in live)
    assert sum("curves" in text.lower() and "Accuracy" in text for text in shown) == 1
    assert sum("Jensen-Shannon" in text for text in shown) == 1
    saved = json.loads(TUTORIAL.read_text("utf-8"))
    assert not any(cell.get("outputs") for cell in saved["cells"])  # kept without its megabytes of output
