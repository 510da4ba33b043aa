"""The photos behind the numbers, without a browser: filters, next and previous, changes and their list."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from explorer.data.changes import read_changes
from explorer.data.datasets import read_dataset
from explorer.data.store import changes_file
from explorer.evaluation.metrics import report
from explorer.ui.changes import kept_changes
from explorer.ui.datasets import keep_data, uploads_folder
from tests.digits import digit_files
from tests.zips import write_folder


def _page(folder: str) -> None:
    import json
    from pathlib import Path

    from explorer.ui.mistakes import Photos, explore

    content = json.loads((Path(folder) / "shown.json").read_text())
    data, names = Path(folder) / "digits", ("one", "two", "zero")
    explore(Photos(content["rows"], content["metrics"], None, "test", data=data, class_names=names))


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """Nine digits of which a pretended model has every third wrong."""
    import json

    import numpy as np

    monkeypatch.setenv("EXPLORER_RUNS", str(tmp_path / "runs"))
    folder = write_folder(tmp_path / "digits", digit_files(3))
    found = read_dataset(folder)
    labels = np.array([item.label for item in found.items])
    logits = np.eye(3, dtype=np.float32)[np.where(np.arange(9) % 3 == 0, (labels + 1) % 3, labels)] * 3
    names = list(found.class_names)
    rows = [
        {
            "image": item.path, "name": item.name, "sha": item.sha, "actual": names[label],
            "predicted": names[int(row.argmax())], "probability": 0.9, "loss": float(place),
        }
        for place, (item, label, row) in enumerate(zip(found.items, labels, logits, strict=True))
    ]  # fmt: skip
    (tmp_path / "shown.json").write_text(json.dumps({"rows": rows, "metrics": report(logits, labels, names)}))
    return folder


def show(data: Path) -> AppTest:
    app = AppTest.from_function(_page, args=(str(data.parent),), default_timeout=60).run()
    assert not app.exception and not app.error
    return app


def texts(app: AppTest) -> str:
    return " ".join(element.value for element in app.markdown)


def test_at_first_the_mistakes_are_shown_and_next_leads_through_them(data):
    app = show(data)
    assert app.toggle(key="test_wrong").value
    assert "1 of 3 · " in texts(app) and "actually **one**" in texts(app)
    app.button(key="test_next").click().run()
    app.button(key="test_next").click().run()
    assert "3 of 3 · " in texts(app) and "actually **zero**" in texts(app)
    assert app.button(key="test_next").disabled
    app.selectbox(key="test_actual").set_value("two").run()
    assert "1 of 1 · " in texts(app) and "actually **two**" in texts(app)
    app.toggle(key="test_wrong").set_value(False).run()
    assert "1 of 3 · " in texts(app)
    app.selectbox(key="test_predicted").set_value("one").run()
    assert "No photo is like that." in [caption.value for caption in app.caption]


def test_a_photo_is_left_out_listed_and_taken_back(data):
    before = {path: path.read_bytes() for path in data.rglob("*.png")}
    app = show(data)
    app.button(key="test_leave_out").click().run()
    (change,) = kept_changes(data).entries
    assert change.class_name is None and change.before == "one"
    assert app.expander[0].label == "Changes for the next training on digits: 1 photo left out"
    app.button(key="test_next").click().run()
    second = next(box for box in app.selectbox if box.key and box.key.startswith("test_class_"))
    assert second.options == ["one", "zero"], "every class but its own"
    second.set_value("one").run()
    assert [entry.class_name for entry in kept_changes(data).entries] == [None, "one"]
    assert "Next training: two → **one**" in texts(app)
    app.button(key="test_undo_this").click().run()
    app.button(key=f"test_undo_{change.sha}").click().run()
    assert not app.expander and not changes_file(data, uploads_folder()).exists()
    assert {path: path.read_bytes() for path in data.rglob("*.png")} == before


def test_a_damaged_file_of_changes_is_one_sentence_and_the_photos_stay(data):
    app = show(data)
    app.button(key="test_leave_out").click().run()
    changes_file(data, uploads_folder()).write_text("{")
    app.run()
    assert not app.exception and [error.value for error in app.error if "isn't a file of changes" in error.value]
    assert "1 of 3 · " in texts(app) and len(app.error) == 1
    app.button(key="test_forget").click().run()
    assert not app.error and not kept_changes(data).entries


def test_changes_outlive_the_tidying_of_uploads(data, monkeypatch, tmp_path):
    app = show(data)
    app.button(key="test_leave_out").click().run()
    monkeypatch.setattr("explorer.ui.datasets.LIMIT", 1)
    (tmp_path / "x").write_bytes(b"x" * 10)
    with (tmp_path / "x").open("rb") as stream:
        keep_data(stream, ".zip")
    assert len(read_changes(changes_file(data, uploads_folder())).entries) == 1
