"""The models on offer: one table, data only, and what lies in checkpoints/."""

import os
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from explorer import paths
from explorer.errors import CheckpointError, ExplorerError, ModelError
from explorer.models.formats.config import WEIGHT_SUFFIXES, read_config
from explorer.models.hub_cache import cached_weights
from explorer.models.source import ModelSource, TrainedFrom
from explorer.words import size_in_words

BUNDLED = "bundled"
NAMED = 4  # classes in the line about a checkpoint
TRAINED_FROM = "trained_from"  # key of a checkpoint's config.json that holds the fields of a TrainedFrom
FORBIDDEN = Path(os.devnull) / "not-yours"  # lies nowhere
LONGEST_PATH, LONGEST_NAME = 4000, 256  # bytes; systems take no more
EPOCHS = "epochs"  # folder inside a checkpoint: one model folder per epoch that its training kept, named by its number


@dataclass(frozen=True)
class Entry:
    """One model on offer; numbers are None where only the file itself tells them."""

    key: str
    title: str
    source: str  # what load_model takes
    about: str
    patch_size: int | None = None
    depth: int | None = None
    num_heads: int | None = None
    parameters: int | None = None  # millions
    size: int = 224  # pixels it was trained at
    licence: str = ""
    repo: str = ""  # hub repository of its weights, where timm shares those of another id
    model_type: str = ""  # transformers' name of the architecture, for random weights without a download

    @property
    def repo_id(self) -> str | None:
        """The hub repository that its weights come from, None for a local one."""
        library, _, model_id = self.source.partition(":")
        return self.repo or {"timm": f"timm/{model_id}", "hf": model_id}.get(library)

    @property
    def where(self) -> str:
        """Which library or folder it comes from, for tables."""
        return {"timm": "timm", "hf": "transformers"}.get(self.source.partition(":")[0], "checkpoints/")


REGISTRY = (
    Entry(BUNDLED, "Bundled ViT", BUNDLED, "trained by this project; works offline", licence="Apache-2.0"),
    Entry(
        "dino-s8", "DINO ViT-S/8", "timm:vit_small_patch8_224.dino", "self-supervised; sharp maps of whole objects",
        8, 12, 6, 22, licence="Apache-2.0",
    ),
    Entry(
        "dino-s16", "DINO ViT-S/16", "timm:vit_small_patch16_224.dino", "self-supervised; four times quicker than S/8",
        16, 12, 6, 22, licence="Apache-2.0",
    ),
    Entry(
        "dino-b8", "DINO ViT-B/8", "timm:vit_base_patch8_224.dino", "self-supervised; finest maps, slow on a laptop",
        8, 12, 12, 86, licence="Apache-2.0",
    ),
    Entry(
        "dino-b16", "DINO ViT-B/16", "timm:vit_base_patch16_224.dino", "self-supervised",
        16, 12, 12, 86, licence="Apache-2.0",
    ),
    Entry(
        "vit-b16", "ViT-B/16 ImageNet", "timm:vit_base_patch16_224.augreg_in21k_ft_in1k",
        "supervised on ImageNet-21k, then 1k: 1,000 classes", 16, 12, 12, 87, licence="Apache-2.0",
    ),
    Entry(
        "vit-b16-google", "ViT-B/16 Google", "hf:google/vit-base-patch16-224",
        "the original ViT, in transformers: 1,000 classes", 16, 12, 12, 87, licence="Apache-2.0", model_type="vit",
    ),
    Entry(
        "deit-t16", "DeiT-Ti/16", "timm:deit_tiny_patch16_224.fb_in1k", "supervised on ImageNet-1k; small and quick",
        16, 12, 3, 6, licence="Apache-2.0",
    ),
    Entry(
        "dinov2-s14", "DINOv2 ViT-S/14", "timm:vit_small_patch14_dinov2.lvd142m",
        "self-supervised on 142 million photos", 14, 12, 6, 22, 518, licence="Apache-2.0",
    ),
    Entry(
        "dinov2-s14-reg", "DINOv2 ViT-S/14 registers", "timm:vit_small_patch14_reg4_dinov2.lvd142m",
        "with 4 register tokens, so without artefact patches", 14, 12, 6, 22, 518, licence="Apache-2.0",
    ),
    Entry(
        "dinov3-s16", "DINOv3 ViT-S/16", "timm:vit_small_patch16_dinov3.lvd1689m",
        "self-supervised, rotary positions, 4 registers", 16, 12, 6, 22, 256, licence="DINOv3 License",
    ),
    Entry(
        "clip-b16", "CLIP ViT-B/16", "timm:vit_base_patch16_clip_quickgelu_224.openai",  # as OpenAI trained it
        "image half of CLIP, trained on captions",
        16, 12, 12, 86, licence="Apache-2.0", repo="timm/vit_base_patch16_clip_224.openai",
    ),
    Entry(
        "mae-b16", "MAE ViT-B/16", "timm:vit_base_patch16_224.mae",
        "masked autoencoder: learnt to fill in hidden patches", 16, 12, 12, 86, licence="CC-BY-NC-4.0",
    ),
)  # fmt: skip


def entries() -> list[Entry]:
    """The table, then everything found in checkpoints/."""
    return [*REGISTRY, *local_entries()]


def local_entries() -> list[Entry]:
    """Folders saved by timm or transformers and weights files in checkpoints/; their keys are "checkpoints/NAME"."""
    found: dict[str, Entry] = {}
    for folder in paths.checkpoint_folders():
        for path in sorted(_candidates(folder)):
            if path.name != BUNDLED:
                entry = _local(path, folder)
                found.setdefault(entry.key, entry)  # a visitor's own comes before one of the host's of that name
    return list(found.values())


def _candidates(folder: Path, depth: int = 2) -> list[Path]:
    """Model folders and loose weights files, down to `depth` folders deep."""
    found: list[Path] = []
    try:
        inside = list(folder.iterdir())
    except OSError:  # not there, or not to be read by this user
        return []
    for path in inside:
        if path.name.startswith("."):
            continue
        if path.is_dir() and (path / "config.json").is_file():
            found.append(path)
        elif path.is_dir() and depth > 1:
            found += _candidates(path, depth - 1)
        elif path.is_file() and path.suffix in WEIGHT_SUFFIXES:
            found.append(path)
    return found


def _local(path: Path, folder: Path) -> Entry:
    name = path.relative_to(folder)
    return Entry(f"checkpoints/{name.as_posix()}", title(name), str(path), _about(path))


def _about(path: Path) -> str:
    if not path.is_dir():
        try:
            return f"weights file, {size_in_words(path.stat().st_size)}"
        except OSError:  # deleted meanwhile
            return "a weights file that is gone"
    try:
        config = read_config(path)
    except ExplorerError as error:
        return str(error)
    origin = _trained_from(config)
    if origin is None:
        return f"a checkpoint of yours: {config.get('architecture') or config.get('model_type') or 'unknown'}"
    names = config.get("label_names")
    if not isinstance(names, list) or not names:
        return f"fine-tuned from {_title_of(origin.model.source)}"
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"fine-tuned from {_title_of(origin.model.source)}: {', '.join(map(str, names[:NAMED]))}{more}"


def trained_from(source: str | Path) -> TrainedFrom | None:
    """What a checkpoint says it was trained from; None for one that doesn't say, as those of release 0.1.0.

    source: the checkpoint's registry key or folder.
    """
    folder = resolve(str(source))
    return _trained_from(read_config(folder)) if (folder / "config.json").is_file() else None


def _trained_from(config: dict[str, Any]) -> TrainedFrom | None:
    try:
        fields = config[TRAINED_FROM]
        found = TrainedFrom(ModelSource(**fields["model"]), fields["data"], fields["run"])
    except (KeyError, TypeError):  # not one of ours, or damaged: the model opens all the same
        return None
    return found if isinstance(found.model.source, str) else None


def _title_of(source: str) -> str:
    # Not find(): that lists checkpoints/, which leads here again.
    listed = (entry.title for entry in REGISTRY if source in (entry.key, entry.source))
    own = Path(source).name if Path(source).is_absolute() else source.removeprefix("checkpoints/")
    return next(listed, own)


def absolute_source(model: ModelSource) -> ModelSource:
    """The same model with a source that works from any folder: a key, an id, or an absolute path."""
    path = resolve(model.source).resolve()
    if not model.source or find(model.source) or not path.exists():
        return model
    own = next((folder for folder in paths.checkpoint_folders() if path.is_relative_to(folder)), None)
    return replace(model, source=f"checkpoints/{path.relative_to(own).as_posix()}" if own else str(path))


def saved_epochs(source: str | Path) -> list[tuple[int, Path]]:
    """(epoch, folder) of every epoch kept beside a checkpoint, in order; load_model opens each folder.

    source: the checkpoint's registry key or folder. Empty for a model without kept epochs.
    """
    folder = resolve(str(source)) / EPOCHS
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.isdecimal() and (path / "config.json").is_file()]
    return sorted((int(path.name), path) for path in found)


def epoch_entries(source: str | Path) -> list[Entry]:
    """The kept epochs of a checkpoint as entries, "checkpoints/NAME/epochs/003": for comparing, not for the picker."""
    epochs = saved_epochs(source)
    return [
        _local(path, folder)
        for path in (Path(os.path.abspath(path)) for _, path in epochs)
        for folder in map(Path, map(os.path.abspath, paths.checkpoint_folders()))
        if path.is_relative_to(folder)
    ]


def title(path: Path) -> str:
    """What to call a model's folder: its path, and of a kept epoch "PATH, epoch 3" with the path of its checkpoint."""
    checkpoint, inside, epoch = path.as_posix().rpartition(f"/{EPOCHS}/")
    return f"{checkpoint}, epoch {int(epoch)}" if inside and epoch.isdecimal() else path.as_posix()


def find(key: str) -> Entry | None:
    """The entry of that key or source, None where there is none."""
    file, copy = split_copy(key)
    if copy:
        entry = find(file)
        return entry and replace(entry, key=key, title=f"{entry.title}, {copy}", source=f"{entry.source}#{copy}")
    checkpoint, inside, _ = key.partition(f"/{EPOCHS}/")
    if key.startswith("checkpoints/"):
        listed = epoch_entries(checkpoint) if inside else local_entries()
        return next((entry for entry in listed if entry.key == key), None)
    return next((entry for entry in REGISTRY if key in (entry.key, entry.source)), None)


def split_copy(source: str) -> tuple[str, str | None]:
    """A file and the copy of the weights in it that "FILE#COPY" names, such as model_best.pth.tar#state_dict."""
    file, mark, copy = source.rpartition("#")
    whole = not mark or not copy or not file.endswith(WEIGHT_SUFFIXES) or resolve(source).exists()
    return (source, None) if whole else (file, copy)


def is_cached(entry: Entry) -> bool:
    """Whether the model opens without network."""
    if entry.repo_id:
        return cached_weights(entry.repo_id) is not None
    return resolve(split_copy(entry.source)[0]).exists()


def resolve(source: str) -> Path:
    """The path that a local source stands for; checkpoints/NAME is looked up in the folders of models on offer.

    What a visitor may not open, and what is no path, becomes a path that doesn't exist.
    """
    if source == BUNDLED:
        return paths.BUNDLED
    if not _is_path(source):
        return FORBIDDEN
    path = _place(source)
    return path if paths.may_read(path) else FORBIDDEN


def _is_path(text: str) -> bool:
    """Whether the system can be asked for it: for a name that is too long it raises an error."""
    sizes = [len(part.encode(errors="replace")) for part in re.split(r"[/\\]", text)]
    return "\0" not in text and sum(sizes) < LONGEST_PATH and max(sizes) < LONGEST_NAME


def _place(source: str) -> Path:
    name = source.removeprefix("checkpoints/")
    if name == source or (paths.workspace() is None and Path(source).exists()):
        return Path(source)
    places = [folder / name for folder in paths.checkpoint_folders()]
    return next((place for place in places if place.exists()), places[0])


def check_there(source: str) -> None:
    """Raise ModelError or CheckpointError for a source that names no library, and no file or folder that is there."""
    entry = find(source)
    source = entry.source if entry else source
    if source.partition(":")[0] in ("timm", "hf"):
        return
    source, _ = split_copy(source)
    path = resolve(source)
    if source == BUNDLED and not path.is_dir():
        raise ModelError("The bundled model is missing from checkpoints/bundled: get the project's files again.")
    if not source or (path.suffix not in WEIGHT_SUFFIXES and not path.exists()):
        near = _near(source)
        meant = f". Did you mean {' or '.join(near)}? Else" if near else ":"
        raise ModelError(
            f"{source or 'An empty name'} isn't a model that the explorer knows{meant} give a key from "
            "`python -m explorer models`, timm:<id>, hf:<org/name>, a weights file or a folder."
        )
    if not path.exists():
        raise CheckpointError(f"{path.name} doesn't exist any more: pick another model or put the file back.")


def _near(name: str) -> list[str]:
    """The keys of models whose key or title reads nearly like that name, the nearest first, at most three."""
    called = {
        text.casefold(): entry.key
        for entry in entries()
        for text in (entry.title, entry.key, entry.key.removeprefix("checkpoints/"))
    }
    close = get_close_matches(name.casefold(), called, n=5)
    return list(dict.fromkeys(called[text] for text in close))[:3]


def find_source(checkpoint: str | Path) -> str:
    """What load_model takes for a checkpoint's path, its name in the checkpoints folder, or any other source."""
    named = paths.checkpoints() / str(checkpoint)
    return str(named) if not Path(checkpoint).exists() and named.is_dir() else str(checkpoint)


def folder_of(source: str) -> Path:
    """The folder that a model's files lie in: of a hub's, that of its cache."""
    library, _, repo_id = source.partition(":")
    if library == "hf" or repo_id.startswith("hf-hub:"):
        weights = cached_weights(repo_id.removeprefix("hf-hub:"))
        return weights.parent if weights else Path()
    return resolve(source)


def default_source() -> str:
    """The key to start with: the first model of the table that is already downloaded, else the bundled one."""
    return next((entry.key for entry in REGISTRY if entry.repo_id and is_cached(entry)), BUNDLED)
