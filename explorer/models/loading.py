"""load_model: from a registry key, a timm or transformers id, a file or a folder to a Model in eval mode."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from explorer.errors import CheckpointError, ExplorerError, ModelError
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.downloads import Progress, fetch
from explorer.models.formats.config import read_config
from explorer.models.formats.reading import first_line
from explorer.models.source import ModelSource
from explorer.models.token_layout import read_grid


@dataclass(frozen=True)
class Hints:
    """What a bare state dict can't tell, and the caller may."""

    arch: str | None = None
    num_heads: int | None = None
    grid: tuple[int, int] | None = None
    prefix_tokens: tuple[str, ...] | None = None


def load_model(
    source: str | Path | ModelSource,
    device: str = "auto",
    pretrained: bool = True,
    arch: str | None = None,
    num_heads: int | None = None,
    *,
    grid: tuple[int, int] | str | None = None,
    prefix_tokens: tuple[str, ...] | None = None,
    prompts: Sequence[str] = (),
    progress: Progress | None = None,
) -> Model:
    """A Vision Transformer in eval mode, ready to be recorded.

    source: a registry key ("bundled"), "timm:<id>", "hf:<org/name>", a weights file, or a folder written by timm or
    transformers. arch (a timm id), num_heads, grid and prefix_tokens: what a bare state dict can't tell; grid is
    that of its position embeddings, (rows, cols) or "ROWSxCOLS". prompts: texts that become the classes of a CLIP or
    SigLIP with its text half. A ModelSource holds all of these but prefix_tokens in one value.
    pretrained=False: random weights and no download. progress: called with (bytes done, bytes in all) of a download.
    Raises ModelError, CheckpointError or UnsupportedModelError with one sentence.
    """
    given = ModelSource.of(source, arch, num_heads, grid, prompts)
    if given.num_heads is not None and given.num_heads < 1:
        raise ModelError(f"A model has one head or more, not {given.num_heads}: give the right num_heads, or none.")
    entry = registry.find(given.source)
    hints = Hints(given.arch, given.num_heads, read_grid(given.grid), prefix_tokens)
    target = _device(device)
    model = _load(entry.source if entry else given.source, pretrained, hints, progress)
    if entry:
        model = replace(model, name=entry.title)
    if given.prompts:
        from explorer.models.prompts import with_prompts

        model = with_prompts(model, registry.folder_of(entry.source if entry else given.source), given.prompts)
    model.module.to(target)
    return replace(model, source=replace(given, source=entry.key if entry else model.source.source))


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"There is no device {device!r} here: use cpu, or auto to have one chosen.") from error
    return device


def _load(source: str, pretrained: bool, hints: Hints, progress: Progress | None) -> Model:
    library, _, model_id = source.partition(":")
    if library == "timm" and not model_id.startswith("hf-hub:"):
        return _load_timm(source, model_id, pretrained, hints, progress)
    if library in ("timm", "hf"):
        return _load_hub(source, model_id.removeprefix("hf-hub:"), pretrained, hints, progress)
    return _load_path(source, hints)


def _load_timm(source: str, model_id: str, pretrained: bool, hints: Hints, progress: Progress | None) -> Model:
    from explorer.models.timm_models import create_timm, download_timm, wrap_timm

    module = download_timm(model_id, progress) if pretrained else create_timm(model_id)
    return wrap_timm(module, source, model_id, prefix_tokens=hints.prefix_tokens)


def _load_hub(source: str, repo_id: str, pretrained: bool, hints: Hints, progress: Progress | None) -> Model:
    if not pretrained:
        from explorer.models.transformers_models import create_transformers, wrap_transformers

        entry = registry.find(source)
        module = create_transformers(entry.model_type if entry else repo_id)
        return wrap_transformers(module, source, repo_id, prefix_tokens=hints.prefix_tokens)
    folder = fetch(repo_id, progress).parent  # named by its commit, which says nothing to a person
    return replace(_load_folder(folder, repo_id, hints), source=ModelSource(source), name=repo_id)


def _load_path(source: str, hints: Hints) -> Model:
    registry.check_there(source)
    source, copy = registry.split_copy(source)
    path = registry.resolve(source)
    return _load_folder(path, path.name, hints) if path.is_dir() else _load_file(path, hints, copy)


def _load_file(path: Path, hints: Hints, copy: str | None) -> Model:
    from explorer.models.formats.checkpoint import load_checkpoint
    from explorer.models.timm_models import wrap_timm

    checkpoint = load_checkpoint(path, hints.arch, hints.num_heads, hints.grid, copy)
    source = f"{path}#{copy}" if copy else str(path)
    return wrap_timm(checkpoint.module, source, path.stem, checkpoint.notes, hints.prefix_tokens)


def _load_folder(folder: Path, name: str, hints: Hints) -> Model:
    """The model of a folder; whatever its settings break is said in one sentence about it, so that lists go on.

    name: what errors call the folder.
    """
    try:
        return _open_folder(folder, name, hints)
    except ExplorerError:
        raise
    except Exception as error:  # settings that people write are wrong in more ways than anyone can list
        raise CheckpointError(
            f"The folder {name} can't be opened as a model ({type(error).__name__}: {first_line(error)}): "
            "save it again."
        ) from error


def _open_folder(folder: Path, name: str, hints: Hints) -> Model:
    config, title = read_config(folder, name), Path(registry.title(folder)).name
    if "architecture" in config:
        from explorer.models.timm_folder import load_timm_folder
        from explorer.models.timm_models import wrap_timm

        module, notes = load_timm_folder(folder, name)
        return wrap_timm(module, str(folder), title, notes, hints.prefix_tokens)
    if "model_type" in config:
        from explorer.models.processor import read_processor
        from explorer.models.transformers_models import load_transformers, wrap_transformers

        module, notes = load_transformers(folder, name)
        processor = read_processor(folder, name)
        return wrap_transformers(module, str(folder), title, notes, processor, hints.prefix_tokens)
    raise CheckpointError(f"config.json in {name} names no model: give a folder saved by timm or transformers.")
