"""A view as a Python script on the public API: running it gives the same picture and the same NPZ."""

from dataclasses import MISSING, fields
from pathlib import Path

from explorer import paths
from explorer.attention.maps.settings import Likeness
from explorer.data.samples import SAMPLE
from explorer.models.registry import find
from explorer.models.source import ModelSource
from explorer.rendering.view import Look, MapChoice, PhotoInput, View

ALWAYS = ("layer", "head", "query")  # what a reader looks for, named even where it stands at its default


def python_script(view: View, folder: Path | None = None, elsewhere: bool = False) -> str:
    """The code that opens the view's model and image, computes its map and saves PNG and NPZ beside itself.

    It runs from any folder: a photo without a folder of its own is looked for beside it, unless `folder`, where the
    script will lie, doesn't hold it; then it is named in full, as a model's file or folder is. elsewhere: it will run
    on another machine, where the explorer is installed, so that no folder of this one is named.
    """
    other = view.map.other_image
    also = ", second=other" if other is not None else ""
    photos = {Path(image).name.casefold() for image in (view.photo.image, other) if image is not None}
    name = next(name for name in ("view", "view-2", "view-3") if f"{name}.png" not in photos)
    lines = [
        '"""One view of the explorer: writes its picture (PNG) and its maps (NPZ) beside itself, from any folder."""',
        "",
        *(["from pathlib import Path", ""] if elsewhere else _finding_the_explorer()),
        "import explorer",
        *_imports(view),
        "from explorer.rendering.view import png, save_npz",
        "",
        "view = explorer.View(",
        f"    source=explorer.{_code(view.source)},",
        f"    photo=explorer.{_code(view.photo)},",
        f"    map=explorer.{_map_code(view.map)},",
        *([f"    look=explorer.{_code(view.look)},"] if view.look != Look() else []),
        ")",
        f"model = explorer.load_model({_source_arguments(view, elsewhere)})",
        "here = Path(__file__).resolve().parent",
        f"photo = {_photo('view.photo.image', view.photo.image, folder)}",
        f"recording = {_record('photo')}",
        *([f"other = {_record(_photo(repr(other), other, folder))}"] if other is not None else []),
        f"heatmap = {_call(view)}  # (rows, cols) float32",
        'print(heatmap.shape, "from", heatmap.min(), "to", heatmap.max())',
        "",
        f'(here / "{name}.png").write_bytes(png(view, recording{also}, photo=photo))',
        f'(here / "{name}.npz").write_bytes(save_npz(view, recording{also}))',
        "",
    ]
    return "\n".join(lines)


def _finding_the_explorer() -> list[str]:
    return [
        "import sys",
        "from pathlib import Path",
        "",
        f"sys.path.append({str(paths.PACKAGE.parent)!r})  # the explorer's folder; an installed explorer comes first",
        "",
    ]


def _imports(view: View) -> list[str]:
    hidden = view.look.hide_artefacts
    lines = ["from explorer.attention.artefacts import artefact_mask, without_artefacts"] if hidden else []
    samples = any(image and image.startswith(SAMPLE) for image in (view.photo.image, view.map.other_image))
    return [*lines, "from explorer.data.samples import sample_photo"] if samples else lines


def _source_arguments(view: View, elsewhere: bool) -> str:
    """What load_model takes for the view's model; a file that another folder wouldn't find is named in full.

    elsewhere: names no folder of this machine.
    """
    source = view.source
    path, entry = Path(source.source), find(source.source)
    first = "view.source.source"
    if elsewhere:
        pass
    elif entry and source.source.startswith("checkpoints/") and paths.checkpoints() != paths.project() / "checkpoints":
        first = repr(entry.source)
    elif entry is None and path.exists() and not path.is_absolute():
        first = repr(str(path.resolve()))
    given = [each.name for each in fields(source) if each.name != "source" and getattr(source, each.name)]
    return ", ".join([first, *(f"{name}=view.source.{name}" for name in given)])


def _photo(name: str, image: str, folder: Path | None) -> str:
    """What record() takes for an image that goes by that name in the script."""
    if image.startswith(SAMPLE):
        return f"sample_photo({image.removeprefix(SAMPLE)!r})"
    path = Path(image)
    if path.is_absolute():
        return name
    if folder and path.exists() and (folder / path).resolve() != path.resolve():
        return repr(str(path.resolve()))
    return f"here / {name}"


def _record(photo: str) -> str:
    return f"explorer.record(model, {photo}, size=view.photo.size, fit=view.photo.fit)"


def _code(part: ModelSource | PhotoInput | Look) -> str:
    """The code of a dataclass: what has no default, by place, and whatever differs from its default, by name."""
    values = {each: getattr(part, each.name) for each in fields(part)}
    given = [repr(value) for each, value in values.items() if each.default is MISSING]
    given += [f"{each.name}={value!r}" for each, value in values.items() if each.default not in (MISSING, value)]
    return f"{type(part).__name__}({', '.join(given)})"


def _map_code(choice: MapChoice) -> str:
    left_out = choice.row.missing_mean
    given = {name: value for name, value in choice.settings.items() if name in ALWAYS or value != left_out[name]}
    return f"MapChoice({', '.join([repr(choice.kind), *(f'{name}={value!r}' for name, value in given.items())])})"


def _call(view: View) -> str:
    likeness = view.map.row.needs(Likeness)
    likened = f' | {{"{likeness.name}": other}}' if likeness and view.map.other_image is not None else ""
    call = f"recording.map(view.map.kind, **view.map.settings{likened})"
    return f"without_artefacts({call}, artefact_mask(recording))" if view.look.hide_artefacts else call
