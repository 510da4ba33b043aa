"""A view as a Python script on the public API: running it gives the same picture and the same NPZ."""

from dataclasses import fields

from explorer.rendering.view import View

SAMPLE = "sample:"


def python_script(view: View) -> str:
    """The code that opens the view's model and image, computes its map and saves PNG and NPZ beside itself."""
    sample = view.image.startswith(SAMPLE)
    image = f"sample_photo({view.image.removeprefix(SAMPLE)!r})" if sample else "view.image"
    imports = ["from explorer.data.samples import sample_photo"] if sample else []
    lines = [
        '"""One view of the explorer. Run it where the explorer package can be imported."""',
        "",
        "from pathlib import Path",
        "",
        "import explorer",
        *imports,
        "from explorer.rendering.view import View, png, save_npz",
        "",
        "view = View(",
        *(f"    {name}={value!r}," for name, value in _settings(view).items()),
        ")",
        "model = explorer.load_model(view.model, arch=view.arch, num_heads=view.num_heads)",
        f"recording = explorer.record(model, {image}, size=view.size, fit=view.fit)",
        f"heatmap = {_call(view)}  # (rows, cols) float32",
        'print(heatmap.shape, "from", heatmap.min(), "to", heatmap.max())',
        "",
        'Path("view.png").write_bytes(png(view, recording))',
        'Path("view.npz").write_bytes(save_npz(view, recording))',
        "",
    ]
    return "\n".join(lines)


def _settings(view: View) -> dict[str, object]:
    """model, image and whatever differs from the defaults."""
    needed = ("model", "image", "layer", "head", "query")
    return {
        field.name: getattr(view, field.name)
        for field in fields(View)
        if field.name in needed or getattr(view, field.name) != field.default
    }


def _call(view: View) -> str:
    if view.kind == "raw":
        return "recording.attention(view.layer, view.head, view.query)"
    if view.kind == "rollout":
        return "recording.rollout(view.query, view.fusion, view.discard_ratio, view.start_layer)"
    return "recording.relevance(view.target, view.similar_to, view.start_layer)"
