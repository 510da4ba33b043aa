"""What the Evaluate page is given: single images, or a zip of class folders; and what a model makes of it.

Uploads lie on disk, each set of files under a name that the address may hold over a reload.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from explorer.data.class_folders import SUFFIXES
from explorer.data.report import DatasetReport
from explorer.data.samples import SAMPLES, sample_file
from explorer.errors import CheckpointError, DataError
from explorer.evaluation.class_match import match_classes
from explorer.evaluation.predict import Evaluation, class_names_of, evaluate, predict, write_predictions
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.formats.config import read_config
from explorer.training.runs.json_files import fits
from explorer.ui import cached
from explorer.ui.datasets import LARGEST, data_suffix, keep_data, read_data, upload_labels, uploads_folder, used_before
from explorer.ui.messages import show_errors
from explorer.ui.uploads import largest_upload, let_go

_GIVEN = "evaluate_given"
_REFUSED = "evaluate_refused"  # why the newest uploads, or those of the address, can't be used
_BEGUN = "evaluate_begun"  # what is being read: a click meanwhile ends that run, and the next one goes on
_UPLOADS = "evaluate_uploads"  # number of the uploader's newest generation: a new key empties it
IMAGES = "images"  # names what is evaluated in the address, so that a reload finds it again
_SHOTS = "evaluate_shots"  # photos taken so far
UPLOAD, CAMERA, BEFORE = "Upload", "Camera", "Zip used before"
LIST = ".given"  # ends the files that tell which uploads belong together, and what people call them
NAME = re.compile(r"[0-9a-f]{16}")  # nothing else, and no path, is ever taken from an address
GONE = "The images of this address are no longer on the server: drop them here again."


@dataclass(frozen=True)
class Given:
    """Uploaded images as (name, path), or one zip."""

    images: tuple[tuple[str, Path], ...] = ()
    zip: tuple[str, Path] | None = None

    @property
    def files(self) -> tuple[tuple[str, Path], ...]:
        """The images or the zip as (name, path)."""
        return (self.zip,) if self.zip else self.images

    @property
    def title(self) -> str:
        """What people call it."""
        return self.files[0][0] if len(self.files) == 1 else f"{len(self.files):,} images"

    @property
    def name(self) -> str:
        """What an address calls it: the same for the same files under the same names."""
        return hashlib.sha256(_to_json(self).encode()).hexdigest()[:16]


def choose_images() -> Given | None:
    """The chooser; what was chosen last, kept on disk and named by the address."""
    _restore()
    before = zips_before()
    kind = st.segmented_control(
        "Images from", [UPLOAD, CAMERA, *([BEFORE] if before else [])], default=UPLOAD, key="evaluate_source",
        required=True, persist_state="session",
    )  # fmt: skip
    if kind == BEFORE:
        _used_before(before)
    elif kind == CAMERA:
        _camera()
    else:
        _upload()
        if _GIVEN not in st.session_state and st.button("Try it on the sample photos", key="evaluate_samples"):
            _use(sample_images)
            st.rerun()
    with show_errors():
        if _REFUSED in st.session_state:
            raise DataError(st.session_state[_REFUSED])
    given = st.session_state.get(_GIVEN)
    if given:
        st.query_params[IMAGES] = given.name
    return given


def _restore() -> None:
    """Go on with what was begun; after a reload the address still names the images."""
    if begun := st.session_state.get(_BEGUN):
        _use(lambda: begun)
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
        key=f"evaluate_{generation}", max_upload_size=largest_upload(LARGEST),
    )  # fmt: skip
    if files:
        try:
            st.session_state[_BEGUN] = keep(files)
        except DataError as error:
            st.session_state[_REFUSED] = str(error)
        st.session_state[_UPLOADS] = generation + 1
        let_go(files)
        st.rerun()


def _camera() -> None:
    shots = st.session_state.setdefault(_SHOTS, 0)
    taken = st.camera_input("Take a photo", key=f"evaluate_camera_{shots}", resolution="720p", width=480)
    if taken:
        st.session_state[_SHOTS] = shots + 1  # another key leaves the camera ready for the next
        _use(lambda: Given(images=((f"camera-{shots + 1}.jpg", keep_data(taken, ".jpg")),)))
        let_go([taken])
        st.rerun()


def sample_images() -> Given:
    """The photos that come along."""
    files = [sample_file(name) for name in SAMPLES]
    return Given(images=tuple((name, keep_data(BytesIO(content), _suffix(name))) for name, content in files))


def _used_before(titles: dict[str, str]) -> None:
    labels = upload_labels(titles)
    name = st.selectbox("The newest first", list(labels), format_func=labels.__getitem__, key="evaluate_before")
    if name and st.button("Use these images", key="use_evaluate"):
        _use(lambda: Given(zip=(titles[name], uploads_folder() / name)))


def _use(find: Callable[[], Given]) -> None:
    """Look at what `find` gives from now on, or keep what was there before and say why not."""
    try:
        given = st.session_state[_BEGUN] = find()
        if given.zip:
            read_data(given.zip[1], given.zip[0], to_train=False)
        remember(given)
    except DataError as error:
        st.session_state[_REFUSED] = str(error)
    else:
        st.session_state[_GIVEN] = given
        st.session_state.pop(_REFUSED, None)
    st.session_state.pop(_BEGUN, None)


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
        return _predict(key, model, given), None
    report = read_data(given.zip[1], given.zip[0], to_train=False)
    return _score(key, model, report), report


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
def _predict(key: tuple, _model: Model, _given: Given) -> Evaluation:
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
def _score(key: tuple, _model: Model, _report: DatasetReport) -> Evaluation:
    return evaluate(_model, _report)


def keep(files: Sequence[UploadedFile]) -> Given:
    """The uploads on disk; DataError where a zip didn't come alone."""
    zips = [file for file in files if file.name.lower().endswith(".zip")]
    if zips and len(files) > 1:
        raise DataError("Drop either one zip or single images, not both at once.")
    if zips:
        return Given(zip=(zips[0].name, keep_data(zips[0], data_suffix(zips[0].name))))
    names = _distinct([file.name for file in files])
    paths = [keep_data(file, _suffix(file.name)) for file in files]
    return Given(images=tuple(zip(names, paths, strict=True)))


def remember(given: Given) -> None:
    """Note which uploads belong together, so that recall(given.name) finds them; DataError where the disk is full."""
    path = uploads_folder() / f"{given.name}{LIST}"
    try:
        path.write_text(_to_json(given), encoding="utf-8")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DataError(f"The upload can't be kept on disk ({error.strerror}): free some space there.") from error


def recall(name: str) -> Given:
    """The uploads of that name; DataError where they are gone."""
    path = uploads_folder() / f"{name}{LIST}"
    if not NAME.fullmatch(name) or not path.is_file():
        raise DataError(GONE)
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        listed = {}
    if not fits(listed, {"zip": bool, "files": [[PurePath]]}) or not all(len(pair) == 2 for pair in listed["files"]):
        raise DataError(GONE)
    files = tuple((title, uploads_folder() / file) for title, file in listed["files"])
    if not all(file.is_file() for _, file in files):
        raise DataError(GONE)
    return Given(zip=files[0]) if listed["zip"] else Given(images=files)


def zips_before() -> dict[str, str]:
    """{file name: title} of the zips on disk, those from Fine-tune as well; single photos aren't offered to all."""
    return {name: title for name, title in used_before().items() if name.endswith(".zip")}


def _to_json(given: Given) -> str:
    files = [(title, path.name) for title, path in given.files]
    return json.dumps({"zip": given.zip is not None, "files": files}, ensure_ascii=False)


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return suffix if suffix in SUFFIXES else ".file"  # an uploaded name never names a file here


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number after those that came before."""
    found: list[str] = []
    for name in names:
        number, free = 2, name
        while free in found:
            number, free = number + 1, f"{name} ({number})"
        found.append(free)
    return found
