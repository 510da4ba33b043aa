"""The Fine-tune page without a browser: what it says of data, plans and runs in every state."""

import json
import os
import shutil
import time
import zipfile
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

from explorer.errors import CheckpointError, TrainingError
from explorer.evaluation.paired import Gain
from explorer.models import registry
from explorer.models.loading import load_model
from explorer.models.source import ModelSource
from explorer.training.finetune import finetune
from explorer.training.plan import Plan
from explorer.training.runs import jobs
from explorer.training.runs.folder import Options, RunFolder, State, read_config, write_config
from explorer.training.runs.json_files import write_json
from explorer.ui.finetune.result import gain_of, gain_sentence, model_zip
from explorer.ui.finetune.runs import trained_words
from explorer.ui.finetune.train import progress_line, starting_line, thin_steps
from explorer.ui.scores import confusion_figure, most_confused
from tests.digits import digit_files
from tests.training.runs.test_jobs import wait_for
from tests.training_help import make_base
from tests.zips import write_folder

TOLD = ["Untrained classifier", "Nearest neighbours", "Now"]
PAGE = """
from explorer.ui.finetune.runs import pick_run, show_runs
from explorer.ui.finetune.result import show_result
from explorer.ui.finetune.train import show_run
from explorer.ui.messages import show_errors
import streamlit as st
run = pick_run()
with show_errors():
    if st.query_params.get("show") == "result":
        show_result(run)
    elif st.query_params.get("show") == "runs":
        show_runs()
    else:
        show_run(run.folder)
"""


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EXPLORER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path / "checkpoints"))
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def make_run(runs: Path, name: str, data: str = "digits.zip", **state) -> RunFolder:
    """A run folder as a trainer leaves it in that state; its process is this one unless the state says otherwise."""
    folder = RunFolder(runs / name)
    folder.path.mkdir()
    write_config(folder, Options(data, ModelSource("bundled"), str(runs / name / "checkpoint")), Plan().resolved())
    written = folder.write_state(State("running"))
    write_json(folder.state, {**asdict(written), "epochs": 10, **state})
    return folder


def show(name: str, what: str = "train") -> AppTest:
    app = AppTest.from_string(PAGE, default_timeout=60)
    app.query_params["run"], app.query_params["show"] = name, what
    app.run()
    assert not app.exception
    return app


def words(elements) -> str:
    return " ".join(element.value for element in elements)


def buttons(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def test_the_comparison_begins_with_the_runs_on_the_data_of_the_newest(runs):
    for name, data in (("one", "ants.zip"), ("two", "shoes.zip"), ("three", "ants.zip")):
        make_run(runs, name, data, status="stopped")
    assert sorted(show("three", "runs").multiselect(key="compared_runs").value) == ["one", "three"]


@pytest.mark.slow
def test_a_queued_run_tells_its_place_and_can_be_stopped(runs):
    folder = make_run(runs, "queued", status="queued", place=2)
    app = show("queued")
    assert "place 2" in words(app.info)
    app.button(key="stop_queued").click().run()
    assert folder.stop_request.exists()
    assert buttons(app) == ["Stopping"]


@pytest.mark.slow
def test_what_is_redrawn_alone_has_a_place_of_its_own_in_the_live_view(runs):
    make_run(runs, "queued", status="queued", place=2)
    live = show("queued").container(key="live")
    status, _, curves = (cast(Block, part) for part in live.children.values())
    for place in (status, curves):  # that is not part of what is redrawn: in it lies the fragment's own container
        (fragment,) = place.children.values()
        assert isinstance(fragment, Block)


@pytest.mark.slow
def test_a_run_whose_process_is_gone_is_interrupted_and_can_be_resumed(runs):
    make_run(runs, "gone", status="running", phase="training", epoch=3, pid=2**22 + 1)
    app = show("gone")
    assert "Interrupted after epoch 3 of 10" in words(app.warning)
    assert buttons(app) == ["Resume"]


@pytest.mark.slow
def test_a_failed_run_says_why_in_one_sentence(runs):
    make_run(runs, "failed", status="failed", error="The disk is full; free some space, then resume the run.")
    app = show("failed")
    assert words(app.error).startswith("The disk is full")
    assert buttons(app) == ["Resume"]


@pytest.mark.slow
def test_a_run_that_is_no_longer_there_is_named_and_the_newest_shown(runs):
    make_run(runs, "left", status="queued", place=1)
    app = show("deleted")
    assert "deleted" in words(app.warning)
    assert app.selectbox(key="run").value == "left"


@pytest.mark.slow
def test_a_run_without_result_says_so(runs):
    make_run(runs, "early", status="stopped")
    app = show("early", "result")
    assert "No result yet" in words(app.caption)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A project folder with a base model and one finished run on digits."""
    home = tmp_path_factory.mktemp("project")
    write_folder(home / "digits", digit_files(10))
    make_base(home / "checkpoints" / "base")
    old = {name: os.environ.get(name) for name in ("EXPLORER_QUEUE",)}
    os.environ["EXPLORER_QUEUE"] = str(home / "queue")
    finetune(home / "digits", str(home / "checkpoints" / "base"), Plan("last-1", epochs=2), home / "runs" / "two")
    os.environ.update({name: value for name, value in old.items() if value})
    shutil.copytree(home / "runs" / "two", home / "kept")
    return home


@pytest.mark.slow
def test_a_finished_run_shows_its_result_and_is_listed_and_deleted(finished, monkeypatch):
    monkeypatch.setenv("EXPLORER_RUNS", str(finished / "runs"))
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(finished / "checkpoints"))
    app = show("two")
    assert "Finished after epoch 2 of 2" in words(app.success)
    assert [metric.label for metric in app.metric] == [
        "Untrained classifier",
        "Nearest neighbours",
        "Last epoch",
        "Kept weights",
    ]

    app = show("two", "result")
    assert [metric.label.split(" (")[0] for metric in app.metric] == TOLD
    assert "points over neighbours" in app.metric[2].delta
    assert "the nearest neighbours" in words(app.info) + words(app.success)
    assert {"Photos", "Attention before and after"} == {s.value for s in app.header}
    assert "Compare before and after" in buttons(app)
    assert "Open in Attention" in buttons(app)
    assert "Saved as **checkpoints/two**: base, last block trained on digits." in words(app.markdown).replace("\\", "")
    entry = registry.find("checkpoints/two")
    assert entry and entry.about == "fine-tuned from base: one, two, zero"
    assert "Model (zip)" in [button.proto.label for button in app.get("download_button")]
    assert not app.error, words(app.error)

    app = show("two", "runs")
    (row,) = app.dataframe[0].value.to_dict("records")
    assert (row["Run"], row["Data"], row["Trained"], row["Learning rate"]) == ("two", "digits", "last block", 5e-4)
    assert abs(row["Started"].timestamp() - time.time()) < 3600 and row["Took"].endswith(" s")
    assert "Notes" not in row
    app.text_input(key="title_of_two").set_value("Digits, <b>again</b>")
    app.text_area(key="note_of_two").set_value("with a better light")
    app.button(key="save_about").click().run()
    (row,) = app.dataframe[0].value.to_dict("records")
    assert (row["Run"], row["Notes"]) == ("Digits, <b>again</b>", "with a better light")
    assert jobs.read_run("two").title == "Digits, <b>again</b>"
    app.button(key="delete_run_two").click().run()
    assert not (finished / "runs" / "two").exists()
    assert (finished / "checkpoints" / "two").is_dir()


def test_the_zip_of_a_model_opens_elsewhere_and_holds_no_kept_epochs(tmp_path):
    folder = make_base(tmp_path / "pets")
    (folder / "README.md").write_text("card")
    shutil.copytree(folder, folder / "epochs" / "001")
    with zipfile.ZipFile(BytesIO(model_zip(folder))) as file:
        assert set(file.namelist()) == {"pets/config.json", "pets/model.safetensors", "pets/README.md"}
        file.extractall(tmp_path / "elsewhere")
    opened = load_model(tmp_path / "elsewhere" / "pets", device="cpu")
    assert opened.class_names == load_model(folder, device="cpu").class_names
    (folder / "README.md").unlink()
    with pytest.raises(CheckpointError, match=r"README\.md of pets can't be read"):
        model_zip(folder)


PLAN = """
from pathlib import Path
import streamlit as st
from explorer.data.datasets import read_dataset
from explorer.models.loading import load_model
from explorer.ui.finetune.data import Dataset
from explorer.ui.finetune.plan import choose_plan
from explorer.ui.photos import samples
from explorer.ui.state import Choice
weights, data = st.query_params["weights"], Path(st.query_params["data"])
model = load_model(weights, device="cpu", num_heads=4)
choice = Choice(model, samples()[0], 32, "crop")
choose_plan(choice, Dataset(data, "digits", data.parent / "unread", read_dataset(data)))
"""


@pytest.mark.slow
def test_what_the_sidebar_says_of_a_weights_file_reaches_the_run(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path / "checkpoints"))  # for the trainer's own process
    write_folder(tmp_path / "digits", digit_files(3))
    weights = make_base(tmp_path / "base") / "model.safetensors"
    app = AppTest.from_string(PLAN, default_timeout=60)
    app.query_params["weights"], app.query_params["data"] = str(weights), str(tmp_path / "digits")
    app.run()
    app.selectbox(key="plan_new_head").set_value("random").run()
    app.number_input(key="plan_keep_epochs").set_value(10).run()
    assert "3 epochs are kept beside the result" in words(app.markdown)
    app.button(key="start").click().run()
    (name,) = (path.name for path in runs.iterdir())
    try:
        wait_for(lambda: (runs / name / "config.json").is_file(), "the trainer's config")
    finally:
        jobs.stop(name, runs)
        wait_for(lambda: not RunFolder(runs / name).read_state().active, "the end")
    options, plan = read_config(RunFolder(runs / name))
    assert (options.model.num_heads, options.model.arch, plan.keep_epochs, plan.new_head) == (4, None, 10, "random")


@pytest.mark.slow
def test_of_a_deleted_model_the_numbers_stay(finished, monkeypatch, tmp_path):
    monkeypatch.setenv("EXPLORER_RUNS", str(finished / "runs"))
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path))
    folder = RunFolder(finished / "runs" / "kept")
    shutil.copytree(finished / "kept", folder.path)
    state = json.loads(folder.state.read_text())
    write_json(folder.state, {**state, "checkpoint": str(tmp_path / "deleted")})
    app = show("kept", "result")
    assert "The model checkpoints/deleted was deleted" in words(app.info).replace("\\", "")
    assert [metric.label.split(" (")[0] for metric in app.metric] == TOLD
    assert not app.error and not {"Open in Attention", "Make ONNX"} & set(buttons(app))


@pytest.mark.slow
def test_a_damaged_run_hides_no_other_and_can_be_deleted(runs):
    make_run(runs, "good", status="stopped")
    for name, file, content in (
        ("bad", "state.json", "{"),
        ("odd", "state.json", '{"x": 1}'),
        ("worn", "metrics.json", "{"),
    ):
        (make_run(runs, name, status="finished").path / file).write_text(content)
    app = show("good", "runs")
    assert sorted(app.dataframe[0].value["Run"]) == ["bad", "good", "odd", "worn"]
    assert "state.json of the run 'bad' is damaged" in words(show("bad").error)
    app.selectbox(key="run_to_delete").set_value("odd").run()
    app.button(key="delete_run_odd").click().run()
    assert not (runs / "odd").exists() and (runs / "bad").exists()


def test_progress_line_tells_epoch_speed_and_time():
    state = State("running", "training", epoch=2, epochs=10, images_per_second=123.4, seconds_left=200)
    assert progress_line(state) == "Training, epoch 3 of 10 · 123 images per second · 3 min left"
    assert progress_line(State("running", "training", epochs=10)) == "Training, epoch 1 of 10"
    assert progress_line(State("running", "training", epoch=10, epochs=10, seconds_left=0)).endswith("epoch 10 of 10")
    assert progress_line(State("running", "reading")) == "Reading the images"
    assert progress_line(State("running", "reading", progress=0.4)) == "Reading the images · 40 % of them"
    caching = State("running", "caching", progress=0.25, images_per_second=50, seconds_left=30)
    assert progress_line(caching) == (
        "Preparing photos: the part that isn't trained runs once · 25 % of them · 50 images per second · 30 s left"
    )


@pytest.mark.slow
def test_a_run_that_starts_says_what_takes_its_time(runs):
    make_run(runs, "new", status="starting")
    (bar,) = show("new").get("progress")
    assert bar.proto.text.startswith("Starting the training process, which loads PyTorch first")


def test_while_the_process_starts_the_seconds_are_counted():
    assert starting_line(0.2) == "Starting the training process, which loads PyTorch first"
    assert starting_line(12.3).endswith("loads PyTorch first · 12 s so far")


@pytest.mark.parametrize(
    "train, text",
    [("head", "classifier only"), ("last-1", "last block"), ("last-3", "last 3 blocks"), ("all", "all blocks")],
)
def test_what_was_trained_is_said_in_words(train, text):
    assert trained_words(train) == text


def test_thinned_keeps_every_epoch_and_the_newest_step():
    events = [{"type": "step", "step": number} for number in range(1, 1001)] + [{"type": "epoch", "epoch": 1}]
    kept = thin_steps(events, most=100)
    steps = [event["step"] for event in kept if event["type"] == "step"]
    assert len(steps) <= 101 and steps[-1] == 1000 and kept[-1] == {"type": "epoch", "epoch": 1}
    assert thin_steps(events, most=5000) == events


def result_words(won: int, lost: int, train: str = "last-2") -> str:
    return gain_sentence(Gain(153, won, lost), Plan(train))


def test_the_gain_is_told_with_its_interval_and_whether_it_is_noise():
    line = result_words(3, 2)
    assert line.startswith("Training the last 2 blocks ended 0.7 points above the nearest neighbours: within the noise")
    assert (
        "of 153 photos (95 % interval −" in line and "3 photos right only after training, 2 only by neighbours." in line
    )
    assert result_words(20, 2, "head").startswith("Training the classifier ended 11.8 points above")
    assert "more than chance would give" in result_words(20, 2, "head")
    assert result_words(2, 20, "all").startswith("Training all blocks ended 11.8 points below")
    assert "changed nothing" in result_words(0, 0)
    assert "ended level with the nearest" in result_words(4, 4)


@pytest.mark.parametrize("kept", [None, {}, {"won": 1}, {"won": -1, "lost": 0}, {"won": "1", "lost": 0}, [1, 2]])
def test_a_run_that_keeps_no_vote_of_the_neighbours_has_no_such_sentence(kept):
    assert gain_of({"confusion_matrix": [[3, 0], [0, 2]], "over_neighbours": kept}) is None


def test_a_cell_to_click_lies_over_each_number_and_the_picked_one_is_framed():
    metrics = {"confusion_matrix": [[3, 1], [0, 2]], "class_names": ["ant", "bee"]}
    figure: Any = confusion_figure(metrics, ("ant", "bee"))
    heat, cells = figure.data
    assert [heat.text[list(heat.y).index(y)][list(heat.x).index(x)] for x, y in zip(cells.x, cells.y, strict=True)] == [
        count for count, _ in cells.customdata
    ]
    (frame,) = figure.layout.shapes
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0.5, 1.5, -0.5, 0.5)
    (row,) = confusion_figure(metrics, ("bee", "")).layout.shapes
    assert (row.x0, row.x1, row.y0, row.y1) == (-0.5, 1.5, 0.5, 1.5)


def test_confusion_figure_leaves_out_classes_that_do_not_occur():
    metrics = {"confusion_matrix": [[3, 0, 1], [0, 0, 0], [0, 0, 2]], "class_names": ["ant", "bee", '<b>"']}
    heat: Any = confusion_figure(metrics).data[0]
    assert list(heat.x) == ["ant", '&lt;b&gt;"']
    assert heat.text.tolist() == [[3, 1], [0, 2]]
    assert heat.z.tolist() == [[0.75, 0.25], [0, 1]]


def test_beside_the_confusion_matrix_stands_the_beginning_of_a_long_name():
    metrics = {"confusion_matrix": [[1, 0], [0, 1]], "class_names": ["ant", "b" * 200]}
    axes: Any = confusion_figure(metrics).layout
    assert axes.xaxis.ticktext == axes.yaxis.ticktext == ("ant", "b" * 27 + "…")
    assert axes.xaxis.tickvals == ("ant", "b" * 200)


def test_of_many_classes_the_pairs_confused_most_are_told():
    metrics = {"confusion_matrix": [[5, 0, 3], [1, 2, 0], [0, 4, 9]], "class_names": ["ant", "bee", "cat"]}
    rows = most_confused(metrics, count=2)
    assert [tuple(row.values()) for row in rows] == [("cat", "bee", 4), ("ant", "cat", 3)]


def test_a_run_that_can_not_be_started_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"'new' can't be started in .*file \(Not a directory\)"):
        jobs.start("digits.zip", "bundled", Plan(), "new", tmp_path / "file")
    monkeypatch.setattr("sys.executable", str(tmp_path / "nowhere"))
    with pytest.raises(TrainingError, match="can't be started"):
        jobs.start("digits.zip", "bundled", Plan(), "new", tmp_path / "runs")
    assert not (tmp_path / "runs" / "new").exists()
