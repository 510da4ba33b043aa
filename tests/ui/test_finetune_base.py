"""Which model the Plan step trains: opening a mistake in Attention, which changes the sidebar's, doesn't change it."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from explorer.data.changes import Change, Changes, write_changes
from explorer.data.datasets import read_dataset
from explorer.data.store import changes_file
from explorer.models.source import ModelSource
from explorer.training.estimate import Estimate
from explorer.training.plan import Plan
from explorer.training.runs.folder import Options, RunFolder, State, create_run
from explorer.ui.datasets import uploads_folder
from explorer.ui.finetune.plan import last_base
from tests.digits import digit_files
from tests.pages.test_finetune import words
from tests.training_help import make_base
from tests.zips import write_folder


def _plan_step(sidebar: str, data: str) -> None:
    from pathlib import Path

    import streamlit as st

    from explorer.data.datasets import read_dataset
    from explorer.models.loading import load_model
    from explorer.ui.finetune.data import Dataset
    from explorer.ui.finetune.plan import pick_base
    from explorer.ui.messages import plain

    path = Path(data)
    model = pick_base(
        load_model(sidebar, device="cpu"), Dataset(path, "digits", path.parent / "unread", read_dataset(path))
    )
    st.markdown(f"trains {plain(model.source.source)}")


def make_runs(tmp_path: Path, monkeypatch) -> tuple[Path, Path, Path]:
    """(base, another model, data) with one run that was trained from base on the data."""
    monkeypatch.setenv("EXPLORER_RUNS", str(tmp_path / "runs"))
    base, other = make_base(tmp_path / "base"), make_base(tmp_path / "result")
    data = write_folder(tmp_path / "digits", digit_files(3))
    folder = RunFolder(tmp_path / "runs" / "one")
    create_run(folder, Options(str(data), ModelSource(str(base)), str(tmp_path / "out")), Plan().resolved())
    folder.write_state(State("finished"))
    return base, other, data


def trains(app: AppTest) -> str:
    assert not app.exception and not app.error
    return words(app.markdown).replace("\\", "").removeprefix("trains ")


@pytest.mark.slow
def test_the_base_of_the_last_run_stays_and_the_step_asks(tmp_path, monkeypatch):
    base, result, data = make_runs(tmp_path, monkeypatch)
    assert last_base(data) == ModelSource(str(base)) and last_base(tmp_path) is None
    app = AppTest.from_function(_plan_step, args=(str(base), str(data)), default_timeout=60).run()
    assert trains(app) == str(base) and not app.radio

    app = AppTest.from_function(_plan_step, args=(str(result), str(data)), default_timeout=60).run()
    assert trains(app) == str(base)
    (asked,) = app.radio
    assert asked.label == "Start from" and asked.options == ["base, as the last run", "result, in the sidebar"]
    asked.set_value("sidebar").run()
    assert trains(app) == str(result)


def _whole_plan(deep: str, shallow: str, data: str) -> None:
    from pathlib import Path

    import streamlit as st

    from explorer.data.datasets import read_dataset
    from explorer.data.samples import SAMPLES
    from explorer.models.loading import load_model
    from explorer.ui.finetune.data import Dataset
    from explorer.ui.finetune.plan import choose_plan
    from explorer.ui.messages import show_errors
    from explorer.ui.photos import Photo
    from explorer.ui.state import Choice

    model = load_model(shallow if st.checkbox("shallow", key="shallow") else deep, device="cpu")
    name = next(iter(SAMPLES))
    photo = Photo(f"sample:{name}", f"sample:{name}", name)
    path = Path(data)
    dataset = Dataset(path, "digits", path.parent / "unread", read_dataset(path))
    with show_errors():
        choose_plan(Choice(model.facts, photo, model.input_size, "crop", model), dataset)


@pytest.mark.slow
def test_a_plan_fits_whichever_model_is_picked_next(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_RUNS", str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()
    deep = make_base(tmp_path / "deep")
    monkeypatch.setattr("explorer.ui.finetune.plan.estimate", lambda *_: Estimate(1, 1, 10, 0, 0))
    shallow = make_base(tmp_path / "shallow", depth=1, patch_size=2, img_size=192, embed_dim=16)
    config = json.loads((shallow / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, 192, 192]
    (shallow / "config.json").write_text(json.dumps(config))
    data = write_folder(tmp_path / "digits", digit_files(3))
    app = AppTest.from_function(_whole_plan, args=(str(deep), str(shallow), str(data)), default_timeout=60).run()
    app.radio(key="plan_train").set_value("last").run()
    app.slider(key="plan_blocks").set_value(3).run()
    assert not app.exception
    app.checkbox(key="shallow").check().run()
    assert not app.exception, "one layer, and an image of more than 64 patches"
    assert [field.value for field in app.number_input if field.label.startswith("Image size")] == [192]


@pytest.mark.slow
def test_changes_that_leave_a_class_empty_are_said_before_the_start(tmp_path, monkeypatch):
    base, _, data = make_runs(tmp_path, monkeypatch)
    report = read_dataset(data)
    out = Changes(tuple(Change(item.sha, item.name, "one") for item in report.items if item.name.startswith("one")))
    write_changes(changes_file(data, uploads_folder()), out)
    app = AppTest.from_function(_whole_plan, args=(str(base), str(base), str(data)), default_timeout=60).run()
    app.button(key="start").click().run()
    assert "class 'one' has no photo left" in words(app.error) and not app.exception
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.name[0] != "."] == ["one"]
