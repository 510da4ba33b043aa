"""What the Evaluate page is given: single images, or a zip of class folders; and what a model makes of it."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from explorer.data.datasets import read_images
from explorer.data.layout import SUFFIXES
from explorer.data.report import DatasetReport
from explorer.errors import CheckpointError, DataError
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.formats.config import read_config
from explorer.training.class_match import match_classes
from explorer.training.classify import Evaluation, Predictions, class_names_of, evaluate, predict, write_predictions
from explorer.ui import cached
from explorer.ui.finetune_data import LARGEST, read_once
from explorer.ui.finetune_uploads import keep_upload
from explorer.ui.messages import show_errors
from explorer.ui.uploads import let_go

_GIVEN = "evaluate_given"
_REFUSED = "evaluate_refused"  # why the newest uploads can't be used
_UPLOADS = "evaluate_uploads"  # number of the uploader's newest generation: a new key empties it


@dataclass(frozen=True)
class Given:
    """Uploaded images as (name, path), or one zip."""

    images: tuple[tuple[str, Path], ...] = ()
    zip: tuple[str, Path] | None = None

    @property
    def title(self) -> str:
        """What people call it."""
        if self.zip:
            return self.zip[0]
        return self.images[0][0] if len(self.images) == 1 else f"{len(self.images):,} images"


def choose_images() -> Given | None:
    """The uploader; what was uploaded last, kept on disk."""
    generation = st.session_state.setdefault(_UPLOADS, 0)
    # Any kind of file is let in: open_image says what is wrong with it and what would work, the browser would not.
    files = st.file_uploader(
        "Images, or a zip with one folder of images for each class", accept_multiple_files=True,
        key=f"evaluate_{generation}", max_upload_size=LARGEST,
    )  # fmt: skip
    if files:
        st.session_state[_UPLOADS] = generation + 1
        _take(files)
        let_go(files)
        st.rerun()
    with show_errors():
        if _REFUSED in st.session_state:
            raise DataError(st.session_state[_REFUSED])
    return st.session_state.get(_GIVEN)


def _take(files: Sequence[UploadedFile]) -> None:
    """Look at the uploads from now on, or keep the ones before and say why not."""
    try:
        given = keep(files)
        if given.zip:
            read_once(given.zip[1], given.zip[0], read_images)
    except DataError as error:
        st.session_state[_REFUSED] = str(error)
    else:
        st.session_state[_GIVEN] = given
        st.session_state.pop(_REFUSED, None)


def keep(files: Sequence[UploadedFile]) -> Given:
    """The uploads on disk; DataError where a zip didn't come alone."""
    zips = [file for file in files if file.name.lower().endswith(".zip")]
    if zips and len(files) > 1:
        raise DataError("Drop either one zip or single images, not both at once.")
    if zips:
        return Given(zip=(zips[0].name, keep_upload(zips[0], ".zip")))
    names = _distinct([file.name for file in files])
    paths = [keep_upload(file, _suffix(file.name)) for file in files]
    return Given(images=tuple(zip(names, paths, strict=True)))


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return suffix if suffix in SUFFIXES else ".file"  # a stranger's words don't name files here


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number after those that came before."""
    found: list[str] = []
    for name in names:
        number, free = 2, name
        while free in found:
            number, free = number + 1, f"{name} ({number})"
        found.append(free)
    return found


def class_names(model: Model) -> list[str]:
    """The classes that the model tells apart; ModelError where it has no classifier."""
    return _class_names((model.source, model.num_heads, cached.stamp(model.source)), model)


@st.cache_data(max_entries=20, show_spinner=False)
def _class_names(key: tuple, _model: Model) -> list[str]:
    return class_names_of(_model)


def evaluated(model: Model, given: Given) -> tuple[Evaluation, DatasetReport | None]:
    """What the model says of the images, and what was found in the zip; DataError where a zip can't be used."""
    key = (model.source, model.num_heads, cached.stamp(model.source), given)
    if given.zip is None:
        return _predicted(key, model, given), None
    report = read_once(given.zip[1], given.zip[0], read_images)
    return _scored(key, model, report), report


def knowing(folders: Iterable[str]) -> list[str]:
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
    return Evaluation(Predictions(found.images, found.probabilities, found.class_names, rejected), rows)


@st.cache_resource(max_entries=4, show_spinner="Classifying the images")
def _scored(key: tuple, _model: Model, _report: DatasetReport) -> Evaluation:
    return evaluate(_model, _report)
