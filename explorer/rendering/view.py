"""One description of what is shown: the page's downloads, the figures, the script and the command line all read it."""

import io
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from explorer.attention.artefacts import artefact_mask, without_artefacts
from explorer.attention.recording import record
from explorer.attention.weights import mass_mask
from explorer.data.images import ImageSource
from explorer.data.samples import sample_photo
from explorer.errors import QueryError
from explorer.models.preprocess import Fit
from explorer.rendering.backdrop import backdrop
from explorer.rendering.colormaps import colorize
from explorer.rendering.overlay import blend, enlarge, normalize

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.models.backbone import Model

Kind = Literal["raw", "rollout", "relevance"]
Scale = Literal["map", "shared", "raw"]
SAMPLE = "sample:"  # an image of a view that begins so is one of the photos that come along
COMPRESSION = 4  # of 9: the highest takes twenty times as long for a tenth less
WIDEST = 8192  # pixels of a picture
SHADE = 0.45  # what stays of the light outside a mass mask


@dataclass(frozen=True)
class View:
    """Every setting that a picture of attention depends on."""

    model: str  # what load_model takes
    image: str  # a path, or "sample:<name>"
    arch: str | None = None  # load_model's arch, num_heads and grid
    num_heads: int | None = None
    grid: str | None = None  # "ROWSxCOLS"
    size: int | None = None  # None: the model's own
    fit: Fit = "crop"
    kind: Kind = "raw"
    layer: int = -1
    head: int | str = "mean"
    query: str | tuple[int, int] | None = None  # None: cls, or the mean over patches where there is none
    fusion: str = "mean"  # fusion and discard_ratio are rollout's
    discard_ratio: float = 0.0
    start_layer: int = 0  # of rollout and relevance
    target: int | str | None = None  # relevance's class; None: the predicted one
    similar_to: tuple[int, int] | str | None = None  # relevance of the likeness to a patch or to another image
    mass: float | None = None  # None: no threshold
    hide_artefacts: bool = False
    colormap: str = "inferno"
    opacity: float = 0.6
    resample: str = "bicubic"
    scale: Scale = "map"  # "map": its own range; "shared": the range over all heads of the layer; "raw": 0 to 1
    width: int | None = None  # of a picture in pixels; None: as the photo

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise QueryError(f"A view's kind must be one of {', '.join(get_args(Kind))}, not {self.kind!r}.")
        if self.scale not in get_args(Scale):
            raise QueryError(f"A view's scale must be one of {', '.join(get_args(Scale))}, not {self.scale!r}.")
        if self.width is not None and not 16 <= self.width <= WIDEST:
            raise QueryError(f"A picture is 16 to {WIDEST} pixels wide, not {self.width}.")

    def to_json(self) -> str:
        """All settings as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "View":
        """The view that to_json wrote, now or before a setting was added; QueryError where the text is none."""
        try:
            settings: dict[str, Any] = dict(json.loads(text))
            for name in ("query", "similar_to"):
                value = settings.get(name)
                settings[name] = tuple(value) if isinstance(value, list) else value
            return cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})
        except (ValueError, TypeError) as error:
            raise QueryError(f"These are not the settings of a view ({error}).") from error


def photo_of(image: str) -> ImageSource:
    """What record() takes for a view's image: the path, or the photo that "sample:<name>" names."""
    return sample_photo(image.removeprefix(SAMPLE)) if image.startswith(SAMPLE) else image


def second_recording(view: View, model: "Model") -> "Recording | None":
    """The other image of a likeness, as the same model sees it; None where the view names none."""
    if view.kind != "relevance" or not isinstance(view.similar_to, str):
        return None
    return record(model, photo_of(view.similar_to), view.size, view.fit)


def shown_map(view: View, recording: "Recording", second: "Recording | None" = None) -> np.ndarray:
    """The map that the view names, (rows, cols) float32.

    second: the recording of the image in view.similar_to, where there is one already; else it is made.
    """
    if view.kind == "raw":
        heatmap = recording.attention(view.layer, view.head, view.query)
    elif view.kind == "rollout":
        heatmap = recording.rollout(view.query, view.fusion, view.discard_ratio, view.start_layer)
    else:
        likened = view.similar_to
        if isinstance(likened, str):
            likened = second or second_recording(view, recording.model)
        heatmap = recording.relevance(view.target, likened, view.start_layer)
    return cleaned(view, recording, heatmap)


def shown_heads(view: View, recording: "Recording") -> np.ndarray:
    """Every head of the view's layer from its query, (head, rows, cols) float32, as shown_map shows one."""
    return cleaned(view, recording, recording.heads(view.layer, view.query))


def cleaned(view: View, recording: "Recording", maps: np.ndarray) -> np.ndarray:
    """Maps "... row col", without the artefact tokens where the view hides them."""
    return without_artefacts(maps, artefact_mask(recording)) if view.hide_artefacts else maps


def shown_mask(view: View, heatmap: np.ndarray) -> np.ndarray | None:
    """The patches that hold the view's mass of the shown map, bool (rows, cols); None without a threshold."""
    return None if view.mass is None else mass_mask(torch.from_numpy(heatmap), view.mass).numpy()


def limits(view: View, recording: "Recording", heatmap: np.ndarray) -> tuple[float, float]:
    """The values that get the lowest and the highest colour."""
    if view.scale == "raw":
        return 0.0, 1.0
    if view.scale == "shared" and view.kind == "raw":
        heads = shown_heads(view, recording)
        return float(heads.min()), float(heads.max())
    return float(heatmap.min()), float(heatmap.max())


def paint(
    view: View, image: Image.Image, heatmap: np.ndarray, low: float, high: float, mask: np.ndarray | None = None
) -> Image.Image:
    """The heatmap between low and high in colour over the image, the size of image; outside the mask a dark photo."""
    colors = colorize(enlarge(normalize(heatmap, low, high), image.size, view.resample), view.colormap)
    picture = blend(image.convert("RGB"), colors, view.opacity)
    if mask is None:
        return picture
    inside = enlarge(mask.astype(np.float32), image.size, "nearest")[..., None] > 0.5
    dark = (np.array(image.convert("RGB")) * SHADE).astype(np.uint8)
    return Image.fromarray(np.where(inside, np.array(picture), dark))


def picture(
    view: View,
    recording: "Recording",
    zoom: int = 1,
    second: "Recording | None" = None,
    photo: ImageSource | None = None,
) -> Image.Image:
    """The view as an image: over the photo at its own resolution, up to 2048 pixels, or view.width pixels wide.

    photo: what the recording was made of; without it the picture is drawn over what the model saw. zoom: at least that
    many times the size that the model saw; second as in shown_map.
    """
    heatmap = shown_map(view, recording, second)
    image = backdrop(recording.image, photo, view.fit, view.width, zoom)
    return paint(view, image, heatmap, *limits(view, recording, heatmap), shown_mask(view, heatmap))


def png(
    view: View,
    recording: "Recording",
    zoom: int = 1,
    second: "Recording | None" = None,
    photo: ImageSource | None = None,
) -> bytes:
    """What picture() draws as a PNG file, with every setting in its text entry "explorer"."""
    settings = PngInfo()
    settings.add_itxt("explorer", view.to_json())
    file = io.BytesIO()
    picture(view, recording, zoom, second, photo).save(file, "PNG", pnginfo=settings, compress_level=COMPRESSION)
    return file.getvalue()


def save_npz(view: View, recording: "Recording", second: "Recording | None" = None) -> bytes:
    """The view as an NPZ file: the same view of the same photo gives the same bytes.

    map (rows, cols) float32; heads (head, rows, cols) where kind is raw; mask (rows, cols) bool where mass is set;
    artefacts (rows, cols) bool where they are hidden, in map and heads; logits (class) where the model classifies;
    image (height, width, 3) uint8, what the model saw; model_name, prefix_tokens, precision; settings: View.to_json();
    second as in shown_map.
    """
    heatmap = shown_map(view, recording, second)
    arrays: dict[str, Any] = {
        "map": heatmap,
        "image": np.array(recording.image),
        "settings": np.array(view.to_json()),
        "model_name": np.array(recording.model_name),
        "prefix_tokens": np.array(recording.prefix_tokens, dtype=np.str_),
        "precision": np.array(recording.precision),
    }
    if view.kind == "raw":
        arrays["heads"] = shown_heads(view, recording)
    if view.hide_artefacts:
        arrays["artefacts"] = artefact_mask(recording)
    if (mask := shown_mask(view, heatmap)) is not None:
        arrays["mask"] = mask
    if recording.logits is not None:
        arrays["logits"] = recording.logits
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()
