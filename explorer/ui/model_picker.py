"""The model picker: the registry, checkpoints on this machine, any other id typed in, a weights file uploaded."""

import re
from dataclasses import dataclass

import streamlit as st

from explorer.errors import ExplorerError, ModelError
from explorer.models.backbone import Model
from explorer.ui import cached
from explorer.ui.checkpoints import checkpoint_options, is_bare_file
from explorer.ui.messages import say, sentence_of

MODELS = {"bundled": "Bundled model"}
DEFAULT = "bundled"
_IN_USE = "model_in_use"  # the newest Picked that could be loaded
_NEXT = "model_next"  # what the picker shows from the next run on
_ID = re.compile(r"(timm:|hf:)?(hf-hub:)?\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True)
class Picked:
    """A loaded model and what load_model was given for it."""

    model: Model
    source: str
    arch: str | None = None
    num_heads: int | None = None


def pick_model() -> Picked:
    """The picker, and the model that it names; where that can't be loaded, a sentence, and the model in use stays."""
    options = {**MODELS, **checkpoint_options()}
    if _NEXT in st.session_state:
        st.session_state["model"] = st.session_state.pop(_NEXT)
    text = st.selectbox(
        "Model", list(options), format_func=lambda source: options.get(source, source), key="model",
        accept_new_options=True, filter_mode="contains", bind="query-params",
        help="Pick one, or type any timm or Hugging Face id, such as vit_base_patch16_siglip_224 or facebook/dinov2-base.",
    )  # fmt: skip
    try:
        source = text if text in options else source_of(text)
        picked = _load(source)
    except ExplorerError as error:
        return _keep_model_in_use(error, text)
    st.session_state[_IN_USE] = picked
    _describe(picked.model)
    return picked


def source_of(text: str) -> str:
    """What load_model takes for a typed id: "org/name" -> "hf:org/name", "name" -> "timm:name"."""
    text = text.strip()
    if not _ID.fullmatch(text):
        raise ModelError(
            f"{text!r} is no model id: type a timm id such as deit_tiny_patch16_224, or org/name of a Hugging Face model."
        )
    if text.startswith(("timm:", "hf:")):
        return text
    return f"hf:{text}" if "/" in text else f"timm:{text}"


def _load(source: str) -> Picked:
    arch, num_heads = (None, None) if not is_bare_file(source) else _file_options()
    return Picked(cached.load_model(source, arch, num_heads), source, arch, num_heads)


def _file_options() -> tuple[str | None, int | None]:
    arch = st.text_input("Architecture (a timm id)", key="arch", bind="query-params", placeholder="found from the file")
    heads = st.number_input("Heads", 1, 64, None, key="heads", bind="query-params", placeholder="width / 64")
    return arch.strip() or None, heads


def _keep_model_in_use(error: ExplorerError, text: str) -> Picked:
    say(sentence_of(error))
    in_use: Picked | None = st.session_state.get(_IN_USE)
    if in_use is None and text == DEFAULT:
        st.error(sentence_of(error))
        st.stop()
    st.session_state[_NEXT] = in_use.source if in_use else DEFAULT
    st.rerun()


def _describe(model: Model) -> None:
    st.caption(f"Patch {model.patch_size} · {model.depth} layers × {model.num_heads} heads · width {model.width}")
