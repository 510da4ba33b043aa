"""The model picker: the registry, checkpoints on this machine, any other id typed in, a weights file uploaded."""

import re
from dataclasses import replace
from typing import Any

import streamlit as st

from explorer.errors import ExplorerError, ModelError, UntoldError
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.formats.architecture import HEADS_UNTOLD
from explorer.models.formats.config import WEIGHT_SUFFIXES
from explorer.models.formats.fitting import LEFT_OUT
from explorer.models.loading import folder_of
from explorer.models.prompt_files import checked_prompts, has_text_tower
from explorer.models.source import ModelSource
from explorer.ui import cached
from explorer.ui.address import by_key, take, write, write_unless
from explorer.ui.messages import plain, say, sentence_of
from explorer.ui.weights_upload import FIELDS, GRID, file_settings, upload_weights

DOWNLOAD = " · download "
_IN_USE = "model_in_use"  # the newest Model that could be loaded
_NEXT = "model_next"  # settings that the next run begins with
PROMPTS = "prompts"
_ID = re.compile(r"(timm:|hf:)?(hf-hub:)?\w[\w.-]*(/\w[\w.-]*)?")


def pick_model() -> Model:
    """The picker, and the model that it names; where that can't be loaded, a sentence, and the model in use stays."""
    st.session_state.update(st.session_state.pop(_NEXT, {}))
    source = model_box("Model", "model", registry.default_source())
    write_unless("model", registry.default_source())
    try:
        model = load_picked(source)
    except ExplorerError as error:
        model = _keep_model_in_use(error, source)
    st.session_state[_IN_USE] = model
    _describe(registry.find(source))
    added = upload_weights()
    if added:
        st.session_state[_NEXT] = _settings(added)
        st.rerun()
    return model


def _settings(source: ModelSource) -> dict[str, Any]:
    """What the box and the fields below it show for that model."""
    return {"model": source.source, "arch": source.arch or "", "heads": source.num_heads, GRID: source.grid or ""}


def pick_second_model(label: str, key: str, first: str) -> Model:
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
    st.caption(f"{plain(about)}Any other timm or Hugging Face id can be typed in.")


def source_of(text: str) -> str:
    """What load_model takes for a typed id: "org/name" -> "hf:org/name", "name" -> "timm:name"."""
    text = text.strip()
    if text.startswith("checkpoints/"):
        raise ModelError(f"{text} is no longer there: pick another model, or put the file back.")
    if not _ID.fullmatch(text):
        raise ModelError(
            f"'{text}' is no model id: type one of timm, such as deit_tiny_patch16_224, or org/name of Hugging Face."
        )
    if text.startswith(("timm:", "hf:")):
        return text
    return f"hf:{text}" if "/" in text else f"timm:{text}"


def load_picked(source: str, prefix: str = "") -> Model:
    """The model of a registry key or of what was typed; a bare weights file gets three fields of settings.

    What was assumed of it is said below them.
    prefix: begins the fields' keys. Raises ExplorerError where the model can't be loaded.
    """
    wanted = ModelSource(source if registry.find(source) else source_of(source))
    if wanted.source.endswith(WEIGHT_SUFFIXES):
        wanted = file_settings(wanted.source, prefix, in_address=True)
    else:
        for name in FIELDS:
            write(f"{prefix}{name}", None)
    model = cached.load_model(wanted)
    _say_assumed(model)
    return model if prefix else _prompted(model)


def _prompted(model: Model) -> Model:
    """Where the model has a text half, a field for texts; with any, the model whose classes they are."""
    if not has_text_tower(folder_of(model.source)):
        return model
    take(PROMPTS, str, "")
    text = st.text_area(
        "Text prompts", key=PROMPTS, persist_state="session", height=80, placeholder="a photo of a cat",
        help="One a line. They become this model's classes, so that maps and tabs explain how well a text fits.",
    )  # fmt: skip
    write_unless(PROMPTS, "")
    prompts = checked_prompts(str(text).splitlines())
    return cached.load_model(replace(model.loaded_from, prompts=prompts)) if prompts else model


def _say_assumed(model: Model) -> None:
    """A wrong guess gives wrong maps that look right, so what was assumed stands wherever the model is picked."""
    for note in model.notes:
        if not note.startswith(LEFT_OUT):
            remedy = " If that is wrong, give **Heads**." if note.startswith(HEADS_UNTOLD) else ""
            st.caption(f":material/info: {plain(note)}{remedy}")


def _keep_model_in_use(error: ExplorerError, wanted: str) -> Model:
    in_use: Model | None = st.session_state.get(_IN_USE)
    default = registry.default_source()
    if in_use is None and wanted in (default, registry.BUNDLED):
        st.error(sentence_of(error), icon=":material/error:")
        st.stop()
    say(sentence_of(error))
    if in_use and in_use.source == wanted:  # its file is gone, but it is still in memory
        return in_use
    told = any(st.session_state.get(key) for key in ("arch", "heads", GRID))
    if wanted.endswith(WEIGHT_SUFFIXES) and (told or isinstance(error, UntoldError)):
        return in_use or load_picked(default)  # the fields below the picker stay: there the person can say it
    st.session_state[_NEXT] = _settings(in_use.loaded_from) if in_use else {"model": default}
    st.rerun()


def pick_next(key: str) -> None:
    """Have the picker show that registry key, such as checkpoints/NAME, from the next run on."""
    st.session_state[_NEXT] = {"model": key}
