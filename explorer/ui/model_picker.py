"""The model picker: the registry, checkpoints on this machine, any other id typed in, a weights file uploaded.

An upload is copied in chunks, proven to be a model, and only then put in checkpoints/.
"""

import filecmp
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

import explorer
from explorer import paths
from explorer.errors import DiskError, ExplorerError, ModelError, UntoldError
from explorer.models import registry
from explorer.models.facts import HEADS_UNTOLD, LEFT_OUT, ModelFacts
from explorer.models.formats.config import WEIGHT_SUFFIXES
from explorer.models.formats.trial import trial_reading
from explorer.models.prompt_files import checked_prompts, has_text_tower
from explorer.models.source import ModelSource
from explorer.training.runs.jobs import list_runs
from explorer.ui import cached, libraries
from explorer.ui.address import by_key, number, take, write, write_unless
from explorer.ui.messages import plain, say, sentence_of
from explorer.ui.uploads import keep_upload, largest_upload, let_go, trim
from explorer.ui.visitor import check_may_type, may_upload_weights
from explorer.visitors.settings import settings
from explorer.web import first_picture

if TYPE_CHECKING:
    from explorer.models.backbone import Model

DOWNLOAD = " · download "
_IN_USE = "model_in_use"  # the newest Model that could be loaded
_NEXT = "model_next"  # settings that the next run begins with
PROMPTS = "prompts"
_ID = re.compile(r"(timm:|hf:)?(hf-hub:)?\w[\w.-]*(/\w[\w.-]*)?")
LARGEST = 2000  # MB
LIMIT = 20 * 2**30  # bytes of uploaded weights in checkpoints/, of all sessions
UPLOADED = ".uploaded"  # names them there, one per line: what people put there themselves is never deleted
GRID = "patch_grid"  # end of the key of the grid's field; "grid" in an address is the canvas' lines
LONGEST_NAME, LONGEST_SUFFIX = 150, 20  # bytes of an upload's name, and letters of its ending, that are kept
FIELDS = ("arch", "heads", GRID)  # ends of the fields' keys
HEADS = 1, 64  # the least and the most
_UPLOADS = "weights_uploads"  # number of the form's newest generation: a new key empties it


def pick_model(wait: bool = True) -> "tuple[ModelFacts, Model | None]":
    """The picker, and the model that it names; where that can't be loaded, a sentence, and the model in use stays.

    wait=False: the bundled model's facts alone, and None, as long as it isn't loaded.
    """
    st.session_state.update(st.session_state.pop(_NEXT, {}))
    source = model_box("Model", "model", registry.default_source())
    write_unless("model", registry.default_source())
    first = first_picture.read()
    if wait or source != first.facts.source.source or cached.is_loaded(first.facts.source):
        model = _load_or_keep(source)
        facts = model.facts
    else:
        model, facts = None, first.facts
        _drop_fields()
    _describe(registry.find(source))
    added = upload_weights() if may_upload_weights() else None
    if added:
        st.session_state[_NEXT] = _settings(added)
        st.rerun()
    return facts, model


def _load_or_keep(source: str) -> "Model":
    try:
        model = load_picked(source)
    except ExplorerError as error:
        model = _keep_model_in_use(error, source)
    st.session_state[_IN_USE] = model
    return model


def _settings(source: ModelSource) -> dict[str, Any]:
    """What the box and the fields below it show for that model."""
    return {"model": source.source, "arch": source.arch or "", "heads": source.num_heads, GRID: source.grid or ""}


def pick_second_model(label: str, key: str, first: str) -> "Model":
    """A model picker like the sidebar's, at first with another than that one; ExplorerError where it can't load.

    A bare weights file gets the same fields as in the sidebar, their keys beginning with `key`.
    """
    others = [entry.key for entry in registry.entries() if entry.key != first and registry.is_cached(entry)]
    source = model_box(label, key, others[0] if others else registry.BUNDLED)
    write(key, source)  # always: which model is the default depends on what lies on this machine
    return load_picked(source, f"{key}_")


def model_box(label: str, key: str, default: str) -> str:
    """The box itself: the key of an entry, or what was typed. Its choice is in the session, not yet in the address."""
    entries = registry.entries()
    labels = box_labels(entries)
    read = by_key({entry.key: entry.title for entry in entries})
    # The browser keeps the label that was picked, also after the download that takes its end away.
    take(key, lambda text: read(text.partition(DOWNLOAD)[0]) or text.strip() or None, default)
    picked = st.selectbox(
        label, list(labels), key=key, accept_new_options=True, persist_state="session", filter_mode="contains",
        format_func=lambda name: labels.get(name, str(name)),
        help="Pick one, or type any timm or Hugging Face id: vit_base_patch16_siglip_224, facebook/dinov2-base …",
    )  # fmt: skip
    return str(picked)


def box_labels(entries: list[registry.Entry]) -> dict[str, str]:
    """Key -> what the box shows: first what is on this machine, then what must be downloaded, with about how much."""
    here = {entry.key: entry.title for entry in entries if registry.is_cached(entry)}
    return here | {entry.key: entry.title + _download(entry) for entry in entries if entry.key not in here}


def _download(entry: registry.Entry) -> str:
    """Its end of a label; float32 weights take 4 MB for a million parameters."""
    return f"{DOWNLOAD}{round(4 * entry.parameters, -1)} MB" if entry.repo_id and entry.parameters else ""


def _describe(entry: registry.Entry | None) -> None:
    about = f"{entry.about[:1].upper()}{entry.about[1:]}. " if entry else ""
    st.caption(plain(about) + ("" if settings().demo else "Any other timm or Hugging Face id can be typed in."))


def source_of(text: str) -> str:
    """What load_model takes for a typed id: "org/name" -> "hf:org/name", "name" -> "timm:name"."""
    text = text.strip()
    if text.startswith("checkpoints/"):
        raise ModelError(f"{text} is no longer there: pick another model, or put the file back.")
    if not _ID.fullmatch(text):
        raise ModelError(
            f"'{text}' isn't a model id: type one of timm, such as deit_tiny_patch16_224, or org/name of Hugging Face."
        )
    if text.startswith(("timm:", "hf:")):
        return text
    return f"hf:{text}" if "/" in text else f"timm:{text}"


def load_picked(source: str, prefix: str = "") -> "Model":
    """The model of a registry key or of what was typed; a bare weights file gets three fields of settings.

    What was assumed of it is said below them.
    prefix: begins the fields' keys. Raises ExplorerError where the model can't be loaded.
    """
    if not registry.find(source):
        check_may_type(source)
    wanted = ModelSource(source if registry.find(source) else source_of(source))
    if wanted.source.endswith(WEIGHT_SUFFIXES):
        wanted = file_settings(wanted.source, prefix, in_address=True)
    else:
        _drop_fields(prefix)
    model = cached.load_model(wanted)
    _say_assumed(model)
    return model if prefix else _prompted(model)


def _prompted(model: "Model") -> "Model":
    """Where the model has a text half, a field for texts; with any, the model whose classes they are."""
    if not has_text_tower(registry.folder_of(model.source.source)):
        return model
    take(PROMPTS, str, "")
    text = st.text_area(
        "Text prompts", key=PROMPTS, persist_state="session", height=80, placeholder="a photo of a cat",
        help="One per line. They become this model's classes, so that maps and tabs explain how well a text fits.",
    )  # fmt: skip
    write_unless(PROMPTS, "")
    prompts = checked_prompts(str(text).splitlines())
    return cached.load_model(replace(model.source, prompts=prompts)) if prompts else model


def _drop_fields(prefix: str = "") -> None:
    """Take what a weights file can't tell out of the address: the model is none."""
    for name in FIELDS:
        write(f"{prefix}{name}", None)


def _say_assumed(model: "Model") -> None:
    """A wrong guess gives wrong maps that look right, so what was assumed stands wherever the model is picked."""
    for note in model.notes:
        if not note.startswith(LEFT_OUT):
            remedy = " If that is wrong, give **Heads**." if note.startswith(HEADS_UNTOLD) else ""
            st.caption(f":material/info: {plain(note)}{remedy}")


def _keep_model_in_use(error: ExplorerError, wanted: str) -> "Model":
    in_use: Model | None = st.session_state.get(_IN_USE)
    default = registry.default_source()
    if in_use is None and wanted in (default, registry.BUNDLED):
        st.error(sentence_of(error), icon=":material/error:")
        st.stop()
    say(sentence_of(error))
    if in_use and in_use.source.source == wanted:  # its file is gone, but it is still in memory
        return in_use
    given = any(st.session_state.get(key) for key in ("arch", "heads", GRID))
    if wanted.endswith(WEIGHT_SUFFIXES) and (given or isinstance(error, UntoldError)):
        return in_use or load_picked(default)  # the fields below the picker stay: there the person can say it
    st.session_state[_NEXT] = _settings(in_use.source) if in_use else {"model": default}
    st.rerun()


def pick_next(key: str) -> None:
    """Have the picker show that registry key, such as checkpoints/NAME, from the next run on."""
    st.session_state[_NEXT] = {"model": key}


def upload_weights() -> ModelSource | None:
    """The form; the new entry of checkpoints/ where a person just sent a file that is a model."""
    generation = st.session_state.setdefault(_UPLOADS, 0)
    with (
        st.popover("Upload weights", icon=":material/upload_file:", width="stretch"),
        st.form(f"weights_{generation}", border=False),
    ):
        file = st.file_uploader("Weights file", list(WEIGHT_SUFFIXES), max_upload_size=largest_upload(LARGEST))
        settings = file_settings("", f"weights_{generation}_")
        sent = st.form_submit_button("Load it", type="primary", width="stretch")
        if not (sent and file):
            return None
        try:
            with st.spinner("Checking the file …"):
                added = _add_weights(file, settings)
        except ExplorerError as error:
            st.error(sentence_of(error))
            return None
    let_go([file])
    st.session_state[_UPLOADS] = generation + 1
    return added


def file_settings(source: str, prefix: str, in_address: bool = False) -> ModelSource:
    """That weights file with what it can't tell, and a person may in fields: architecture, heads and grid.

    prefix: begins the fields' keys. in_address: their values are taken from the address and kept there.
    """
    if in_address:
        take(f"{prefix}arch", str, "")
        take(f"{prefix}heads", number(int, *HEADS), None)
        take(f"{prefix}{GRID}", str, "")
    persist_state = "session" if in_address else None
    arch = st.text_input(
        "Architecture", key=f"{prefix}arch", persist_state=persist_state, placeholder="found from the file",
        help="Its name in timm, where several architectures have the file's shapes.",
    )  # fmt: skip
    left, right = st.columns(2)
    heads = left.number_input(
        "Heads", *HEADS, None, key=f"{prefix}heads", persist_state=persist_state, placeholder="width / 64",
        help="How many heads each layer has, where the file doesn't say and it isn't its width / 64.",
    )  # fmt: skip
    grid = right.text_input(
        "Grid", key=f"{prefix}{GRID}", persist_state=persist_state, placeholder="square",
        help="Rows and columns of the patches that the model was trained on, such as 6x10, where they form no square.",
    )  # fmt: skip
    if in_address:
        for name in FIELDS:
            write(f"{prefix}{name}", str(st.session_state[f"{prefix}{name}"] or "") or None)
    return ModelSource(source, arch.strip() or None, heads, grid.strip() or None)


def _add_weights(file: UploadedFile, settings: ModelSource) -> ModelSource:
    """The file's new entry in checkpoints/; an ExplorerError, and nothing kept, where it is no model."""
    folder = paths.checkpoints()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".upload-") as private:
            path = Path(private) / safe_name(file.name)
            keep_upload(file, path.parent, "", LIMIT).rename(path)
            libraries.wait()
            with trial_reading():
                explorer.load_model(replace(settings, source=str(path)), device="cpu")
            there = folder / path.name
            known = there.is_file() and filecmp.cmp(path, there, shallow=False)
            name = path.name if known else _free_name(path)
            if not known:
                path.rename(folder / name)
                _drop_oldest(folder, name)
    except OSError as error:
        raise DiskError(f"The file can't be kept in '{folder}' ({error.strerror}).") from error
    return replace(settings, source=f"checkpoints/{name}")


def _drop_oldest(folder: Path, newest: str) -> None:
    """Note the newest upload, and delete the oldest ones above the limit but for what runs under way are made from."""
    listed = folder / UPLOADED
    with listed.open("a", encoding="utf-8") as file:
        file.write(f"{newest}\n")
    names = set(listed.read_text(encoding="utf-8").split("\n")) & {path.name for path in folder.iterdir()}
    active = [run.options for run in list_runs(paths.runs()) if run.options and run.state.active]
    trim([folder / name for name in names], LIMIT, {newest, *(Path(options.model.source).name for options in active)})


def safe_name(name: str) -> str:
    """A file name without folders, hidden dots or odd characters, of a length that every disk takes."""
    path = Path(re.sub(r"[^\w.-]+", "-", Path(name).name).lstrip(".-") or "pth")
    path = path if path.suffix else Path(f"weights.{path}")
    return path.stem.encode()[:LONGEST_NAME].decode(errors="ignore") + path.suffix.lower()[:LONGEST_SUFFIX]


def _free_name(path: Path) -> str:
    names = [path.name, *(f"{path.stem}-{number}{path.suffix}" for number in range(2, 1000))]
    return next(name for name in names if not (paths.checkpoints() / name).exists())
