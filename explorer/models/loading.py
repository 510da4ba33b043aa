"""load_model: from a registry key, a timm or transformers id, a file or a folder to a Model in eval mode."""

from pathlib import Path

import torch

from explorer.errors import CheckpointError, ModelError
from explorer.models.backbone import Model
from explorer.models.formats.reading import WEIGHT_SUFFIXES, read_config

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"


def load_model(
    source: str | Path,
    device: str = "auto",
    pretrained: bool = True,
    arch: str | None = None,
    num_heads: int | None = None,
    *,
    grid: tuple[int, int] | None = None,
    prefix_tokens: tuple[str, ...] | None = None,
) -> Model:
    """A Vision Transformer in eval mode, ready to be recorded.

    source: a registry key ("bundled"), "timm:<id>", "hf:<org/name>", a weights file, or a folder written by timm or
    transformers. arch (a timm id), num_heads, grid (rows, cols) and prefix_tokens: what a bare state dict can't tell.
    pretrained=False: random weights and no download. Raises ModelError or CheckpointError with one sentence.
    """
    source = str(source)
    if source == "bundled":
        source = str(CHECKPOINTS / "bundled")
        if not Path(source).is_dir():
            raise ModelError("The bundled model is missing from checkpoints/bundled: get the project's files again.")
    library, _, model_id = source.partition(":")
    if library == "timm":
        model = _load_timm(source, model_id, pretrained, prefix_tokens)
    elif library == "hf":
        model = _load_hf(source, model_id, pretrained, prefix_tokens)
    else:
        model = _load_path(Path(source), arch, num_heads, grid, prefix_tokens)
    model.module.to(_device(device))
    return model


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def _load_timm(source: str, model_id: str, pretrained: bool, prefix: tuple[str, ...] | None) -> Model:
    from explorer.models.timm_models import create_timm, wrap_timm

    return wrap_timm(create_timm(model_id, pretrained), source, model_id, prefix_tokens=prefix)


def _load_hf(source: str, model_id: str, pretrained: bool, prefix: tuple[str, ...] | None) -> Model:
    from explorer.models.transformers_models import create_transformers, load_transformers, wrap_transformers

    module = load_transformers(model_id) if pretrained else create_transformers(HF_TYPES.get(model_id, model_id))
    return wrap_transformers(module, source, prefix_tokens=prefix)


HF_TYPES = {"google/vit-base-patch16-224": "vit"}


def _load_path(
    path: Path,
    arch: str | None,
    num_heads: int | None,
    grid: tuple[int, int] | None,
    prefix: tuple[str, ...] | None,
) -> Model:
    if path.is_dir():
        return _load_folder(path, prefix)
    if path.suffix not in WEIGHT_SUFFIXES and not path.exists():
        raise ModelError(
            f"{path} is no model that the explorer knows: give a name from `python -m explorer models`, timm:<id>, "
            "hf:<org/name>, a weights file or a folder."
        )
    from explorer.models.timm_models import wrap_timm

    if arch:
        from explorer.models.formats.named import load_as

        checkpoint = load_as(path, arch)
    else:
        from explorer.models.formats import load_checkpoint

        checkpoint = load_checkpoint(path, num_heads, grid)
    return wrap_timm(checkpoint.module, str(path), path.stem, checkpoint.notes, prefix)


def _load_folder(folder: Path, prefix: tuple[str, ...] | None) -> Model:
    config = read_config(folder)
    if "architecture" in config:
        from explorer.models.timm_models import load_timm_folder, wrap_timm

        return wrap_timm(load_timm_folder(folder), str(folder), folder.name, prefix_tokens=prefix)
    if "model_type" in config:
        from explorer.models.transformers_models import load_transformers, read_processor, wrap_transformers

        module = load_transformers(str(folder), local_files_only=True)
        return wrap_transformers(module, str(folder), folder.name, (), read_processor(folder), prefix)
    raise CheckpointError(
        f"config.json in {folder.name} names no architecture: give a folder saved by timm or transformers."
    )
