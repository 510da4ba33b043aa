"""Make the app's first picture, explorer/web/first_picture.safetensors: `python -m benchmarks.first_picture`."""

from explorer.attention.recording import record
from explorer.data.samples import SAMPLE, SAMPLES
from explorer.models.loading import load_model
from explorer.rendering.view import PhotoInput, View, photo_of
from explorer.ui.view_settings import default_layer
from explorer.web.first_picture import FILE, pack
from explorer.web.payload import canvas_payload


def make() -> bytes:
    """What Home shows first: the bundled model on the first sample, at its own size and fit."""
    model, photo = load_model("bundled", device="cpu"), SAMPLE + next(iter(SAMPLES))
    recording = record(model, photo_of(photo), model.input_size, model.own_fit)
    layer = default_layer(model)
    view = View(model.source, PhotoInput(photo, model.input_size, model.own_fit)).with_map(layer=layer)
    return pack(canvas_payload(recording, view), model.facts, photo, recording.grid, layer)


if __name__ == "__main__":
    FILE.write_bytes(make())
    print(f"wrote {FILE}, {FILE.stat().st_size:,} bytes")
