"""What the Evaluate page is given: single images, or a zip of class folders; and what a model makes of it."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from explorer.data.report import DatasetReport
from explorer.errors import CheckpointError, DataError
from explorer.evaluation.class_match import match_classes
from explorer.evaluation.predict import Evaluation, class_names_of, evaluate, predict, write_predictions
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.formats.config import read_config
from explorer.ui import cached
from explorer.ui.datasets import LARGEST, read_data, uploads_folder
from explorer.ui.evaluate.uploads import Given, keep, recall, remember, zips_before
from explorer.ui.messages import show_errors
from explorer.ui.uploads import let_go

_GIVEN = "evaluate_given"
_REFUSED = "evaluate_refused"  # why the newest uploads, or those of the address, can't be used
_UPLOADS = "evaluate_uploads"  # number of the uploader's newest generation: a new key empties it
IMAGES = "images"  # names what is evaluated in the address, so that a reload finds it again
UPLOAD, BEFORE = "Upload", "Zip used before"


def choose_images() -> Given | None:
    """The chooser; what was chosen last, kept on disk and named by the address."""
    _restore()
    before = zips_before()
    kind: str | None = UPLOAD
    if before:
        kind = st.segmented_control(
            "Images from", [UPLOAD, BEFORE], default=UPLOAD, key="evaluate_source", required=True,
            persist_state="session",
        )  # fmt: skip
    if kind == BEFORE:
        _used_before(before)
    else:
        _upload()
    with show_errors():
        if _REFUSED in st.session_state:
            raise DataError(st.session_state[_REFUSED])
    given = st.session_state.get(_GIVEN)
    if given:
        st.query_params[IMAGES] = given.name
    return given


def _restore() -> None:
    """After a reload the address still names the images."""
    linked = st.query_params.get(IMAGES)
    if linked and _GIVEN not in st.session_state:
        _use(lambda: recall(linked))
        if _GIVEN not in st.session_state:
            del st.query_params[IMAGES]


def _upload() -> None:
    generation = st.session_state.setdefault(_UPLOADS, 0)
    # Any kind of file is let in: open_image says what is wrong with it and what would work, the browser would not.
    files = st.file_uploader(
        "Images, or a zip with one folder of images for each class", accept_multiple_files=True,
        key=f"evaluate_{generation}", max_upload_size=LARGEST,
    )  # fmt: skip
    if files:
        st.session_state[_UPLOADS] = generation + 1
        _use(lambda: keep(files))
        let_go(files)
        st.rerun()


def _used_before(titles: dict[str, str]) -> None:
    name = st.selectbox("The newest first", list(titles), format_func=titles.__getitem__, key="evaluate_before")
    if name and st.button("Use these images", key="use_evaluate"):
        _use(lambda: Given(zip=(titles[name], uploads_folder() / name)))


def _use(find: Callable[[], Given]) -> None:
    """Look at what `find` gives from now on, or keep what was there before and say why not."""
    try:
        given = find()
        if given.zip:
            read_data(given.zip[1], given.zip[0], to_train=False)
        remember(given)
    except DataError as error:
        st.session_state[_REFUSED] = str(error)
    else:
        st.session_state[_GIVEN] = given
        st.session_state.pop(_REFUSED, None)


def class_names(model: Model) -> list[str]:
    """The classes that the model tells apart; ModelError where it has no classifier."""
    return _class_names(cached.model_number(model), model)


@st.cache_data(max_entries=20, show_spinner=False)
def _class_names(number: int, _model: Model) -> list[str]:
    return class_names_of(_model)


def evaluated(model: Model, given: Given) -> tuple[Evaluation, DatasetReport | None]:
    """What the model says of the images, and what was found in the zip; DataError where a zip can't be used."""
    key = (cached.model_number(model), given)
    if given.zip is None:
        return _predicted(key, model, given), None
    report = read_data(given.zip[1], given.zip[0], to_train=False)
    return _scored(key, model, report), report


def checkpoints_with_classes(folders: Iterable[str]) -> list[str]:
    """The titles of the checkpoints whose classes are called like all of these folders."""
    wanted = set(folders)
    found = []
    for entry in registry.local_entries():
        with suppress(CheckpointError):  # a damaged one is no help, but the page can do without it
            names = read_config(Path(entry.source)).get("label_names")
            names = list(map(str, names)) if isinstance(names, list) else []
            if wanted and names and len(match_classes(wanted, names, len(names))) == len(wanted):
                found.append(entry.title)
    return found


def as_csv(evaluation: Evaluation) -> bytes:
    """Every image's prediction and all probabilities."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.csv"
        write_predictions(path, evaluation.found, evaluation.actual)
        return path.read_bytes()


@st.cache_resource(max_entries=4, show_spinner="Classifying the images")
def _predicted(key: tuple, _model: Model, _given: Given) -> Evaluation:
    paths = dict(_given.images)
    found = predict(_model, list(paths.values()), list(paths))
    tops = [(name, found.top(index, 1)[0]) for index, name in enumerate(found.images)]
    rows = [
        {"image": str(paths[name]), "name": name, "predicted": likeliest, "probability": probability}
        for name, (likeliest, probability) in tops
    ]
    rejected = {  # by the names that people know
        name: reason.replace(f"'{paths[name].name}'", f"'{name}'") for name, reason in found.rejected.items()
    }
    return Evaluation(replace(found, rejected=rejected), rows)


@st.cache_resource(max_entries=4, show_spinner="Classifying the images")
def _scored(key: tuple, _model: Model, _report: DatasetReport) -> Evaluation:
    return evaluate(_model, _report)
