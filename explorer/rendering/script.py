"""A view as a Python script on the public API: running it gives the same picture and the same NPZ."""

from dataclasses import fields

from explorer.rendering.view import SAMPLE, View


def python_script(view: View) -> str:
    """The code that opens the view's model and image, computes its map and saves PNG and NPZ beside itself."""
    second = view.kind == "relevance" and isinstance(view.similar_to, str)
    also = ", second=other" if second else ""
    grid = ", grid=view.grid" if view.grid else ""
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
        f"model = explorer.load_model(view.model, arch=view.arch, num_heads=view.num_heads{grid})",
        f"photo = {_photo('view.image', view.image)}",
        f"recording = {_record('photo')}",
        *([f"other = {_record(_photo('view.similar_to', str(view.similar_to)))}"] if second else []),
        f"heatmap = {_call(view, second)}  # (rows, cols) float32",
        'print(heatmap.shape, "from", heatmap.min(), "to", heatmap.max())',
        "",
        f'Path("view.png").write_bytes(png(view, recording{also}, photo=photo))',
        f'Path("view.npz").write_bytes(save_npz(view, recording{also}))',
        "",
    ]
    return "\n".join(lines)


def _imports(view: View) -> list[str]:
    lines = ["from explorer.attention.artefacts import artefact_mask, without_artefacts"] if view.hide_artefacts else []
    samples = any(isinstance(image, str) and image.startswith(SAMPLE) for image in (view.image, view.similar_to))
    return [*lines, "from explorer.data.samples import sample_photo"] if samples else lines


def _photo(name: str, image: str) -> str:
    """What record() takes for an image that the view holds under that name."""
    return f"sample_photo({image.removeprefix(SAMPLE)!r})" if image.startswith(SAMPLE) else name


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
