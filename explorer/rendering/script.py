"""A view as a Python script on the public API: running it gives the same picture and the same NPZ."""

from dataclasses import fields
from pathlib import Path

from explorer.models.registry import find
from explorer.rendering.view import SAMPLE, View


def python_script(view: View, folder: Path | None = None) -> str:
    """The code that opens the view's model and image, computes its map and saves PNG and NPZ beside itself.

    It runs from any folder: a photo without a folder of its own is looked for beside it, unless `folder`, where the
    script will lie, doesn't hold it; then it is named in full, as a model's file or folder is.
    """
    second = view.kind == "relevance" and isinstance(view.similar_to, str)
    also = ", second=other" if second else ""
    grid = ", grid=view.grid" if view.grid else ""
    photos = {Path(image).name.casefold() for image in (view.image, view.similar_to) if isinstance(image, str)}
    name = next(name for name in ("view", "view-2", "view-3") if f"{name}.png" not in photos)
    lines = [
        '"""One view of the explorer. Run it in the explorer folder, or anywhere after `pip install -e .` there."""',
        "",
        "from pathlib import Path",
        "",
        "import explorer",
        *_imports(view),
        "from explorer.rendering.view import png, save_npz",
        "",
        "view = explorer.View(",
        *(f"    {name}={value!r}," for name, value in _settings(view).items()),
        ")",
        f"model = explorer.load_model({_model(view)}, arch=view.arch, num_heads=view.num_heads{grid})",
        "here = Path(__file__).resolve().parent",
        f"photo = {_photo('view.image', view.image, folder)}",
        f"recording = {_record('photo')}",
        *([f"other = {_record(_photo('view.similar_to', str(view.similar_to), folder))}"] if second else []),
        f"heatmap = {_call(view, second)}  # (rows, cols) float32",
        'print(heatmap.shape, "from", heatmap.min(), "to", heatmap.max())',
        "",
        f'(here / "{name}.png").write_bytes(png(view, recording{also}, photo=photo))',
        f'(here / "{name}.npz").write_bytes(save_npz(view, recording{also}))',
        "",
    ]
    return "\n".join(lines)


def _imports(view: View) -> list[str]:
    lines = ["from explorer.attention.artefacts import artefact_mask, without_artefacts"] if view.hide_artefacts else []
    samples = any(isinstance(image, str) and image.startswith(SAMPLE) for image in (view.image, view.similar_to))
    return [*lines, "from explorer.data.samples import sample_photo"] if samples else lines


def _photo(name: str, image: str, folder: Path | None) -> str:
    """What record() takes for an image that the view holds under that name."""
    if image.startswith(SAMPLE):
        return f"sample_photo({image.removeprefix(SAMPLE)!r})"
    path = Path(image)
    if path.is_absolute():
        return name
    if folder and path.exists() and (folder / path).resolve() != path.resolve():
        return repr(str(path.resolve()))
    return f"here / {name}"


def _model(view: View) -> str:
    """What load_model takes: the view's own words, or the whole path where they are one of the folder worked in."""
    path = Path(view.model)
    found_anywhere = path.is_absolute() or find(view.model) is not None
    return repr(str(path.resolve())) if path.exists() and not found_anywhere else "view.model"


def _record(photo: str) -> str:
    return f"explorer.record(model, {photo}, size=view.size, fit=view.fit)"


def _settings(view: View) -> dict[str, object]:
    """model, image and whatever differs from the defaults."""
    needed = ("model", "image", "layer", "head", "query")
    return {
        field.name: getattr(view, field.name)
        for field in fields(View)
        if field.name in needed or getattr(view, field.name) != field.default
    }


def _call(view: View, second: bool) -> str:
    likened = "other" if second else "view.similar_to"
    call = {
        "raw": "recording.attention(view.layer, view.head, view.query)",
        "rollout": "recording.rollout(view.query, view.fusion, view.discard_ratio, view.start_layer)",
        "relevance": f"recording.relevance(view.target, {likened}, view.start_layer)",
    }[view.kind]
    return f"without_artefacts({call}, artefact_mask(recording))" if view.hide_artefacts else call
