"""One description of what is shown: the page's downloads, the figures, the script and the command line all read it.

A View needs no torch, so that the command line checks its options, and the app draws its first picture, without it.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, overload

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from explorer.attention.artefacts import artefact_mask, without_artefacts
from explorer.attention.maps.kind import MapKind, Progress
from explorer.attention.maps.settings import HeadOrFusion, Likeness
from explorer.attention.maps.table import DEFAULT, map_kind
from explorer.attention.mass import check_mass, mass_mask
from explorer.data.images import ImageSource
from explorer.data.samples import SAMPLE, sample_photo
from explorer.errors import QueryError
from explorer.models.source import ModelSource
from explorer.rendering.backdrop import backdrop
from explorer.rendering.colormaps import DIVERGING, colorize, lookup_table
from explorer.rendering.overlay import blend, check_opacity, check_resample, enlarge, normalize
from explorer.rendering.provenance import with_provenance

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.models.backbone import Model
    from explorer.models.preprocess import Fit

Scale = Literal["map", "shared", "raw"]
Noted = tuple[Float[np.ndarray, "row col"], str]  # a map, and a sentence where it doesn't add up to its score, else ""
Part = TypeVar("Part")
COMPRESSION = 4  # of 9: the highest takes twenty times as long for a tenth less
WIDEST = 8192  # pixels of a picture
ZOOM = 4  # a PNG is at least that many times the size that the model saw: 896 pixels for 224
SHADE = 0.45  # what stays of the light outside a mass mask


@dataclass(frozen=True)
class PhotoInput:
    """A photo, and how it is fitted to the model."""

    image: str  # a path, or "sample:<name>"
    size: int | None = None  # of the short side in pixels; None: the model's own
    fit: "Fit" = "own"


@dataclass(frozen=True, init=False)
class MapChoice:
    """A kind of map and all its settings, checked against its row in the table: MapChoice("rollout", query="cls").

    What is left out means what it meant before there was such a setting: relevance without `balanced` is Chefer's own,
    as in the scripts and files that were written then. View.with_map() fills in the defaults of today instead. Raises
    QueryError for an unknown kind or setting and for a value out of its range.
    """

    kind: str
    settings: Mapping[str, Any] = field(hash=False)

    def __init__(self, kind: str = DEFAULT, /, **settings: Any) -> None:
        row = map_kind(kind)
        object.__setattr__(self, "kind", row.name)
        object.__setattr__(self, "settings", row.complete_settings(row.missing_mean | settings))

    def __getitem__(self, name: str) -> Any:
        return self.settings[name]

    @property
    def row(self) -> MapKind:
        """What there is to know of the kind."""
        return map_kind(self.kind)

    @property
    def other_image(self) -> str | None:
        """The image that this one is likened to, a path or "sample:<name>"; None where the map names none."""
        likeness = self.row.needs(Likeness)
        value = self.settings[likeness.name] if likeness else None
        return value if isinstance(value, str) else None


@dataclass(frozen=True)
class Look:
    """How a map is drawn over its photo; QueryError for a value out of its range."""

    colormap: str = "inferno"
    opacity: float = 0.6
    resample: str = "bicubic"
    scale: Scale = "map"  # "map": its own range; "shared": the range over all heads of the layer; "raw": 0 to 1
    mass: float | None = None  # the patches that hold this share are lit; None: no threshold
    hide_artefacts: bool = False
    width: int | None = None  # of a picture in pixels; None: as the photo

    def __post_init__(self) -> None:
        if self.scale not in get_args(Scale):
            raise QueryError(f"A view's scale must be one of {', '.join(get_args(Scale))}, not {self.scale!r}.")
        if self.width is not None and not 16 <= self.width <= WIDEST:
            raise QueryError(f"A picture is 16 to {WIDEST} pixels wide, not {self.width}.")
        lookup_table(str(self.colormap))
        check_opacity(self.opacity)
        check_resample(self.resample)
        if self.mass is not None:
            check_mass(self.mass)


@dataclass(frozen=True, init=False)
class View:
    """Everything that a picture of attention depends on: which model, which photo, which map, and how it is drawn."""

    source: ModelSource
    photo: PhotoInput
    map: MapChoice = MapChoice()
    look: Look = Look()

    @overload
    def __init__(self, source: ModelSource, photo: PhotoInput, map: MapChoice = ..., look: Look = ...) -> None: ...
    @overload
    def __init__(self, *, model: str, image: str, **flat: Any) -> None: ...

    def __init__(
        self, source: Any = None, photo: Any = None, map: MapChoice = MapChoice(), look: Look = Look(), **flat: Any
    ) -> None:
        """The four parts; or all their settings on one level, as scripts of version 0.1 give them."""
        if "model" in flat:
            source, photo, map, look = _parts_of(_from_flat(flat))
        elif flat or not isinstance(source, ModelSource) or not isinstance(photo, PhotoInput):
            raise TypeError("A View is of a ModelSource and a PhotoInput: View(ModelSource(…), PhotoInput(…)).")
        for name, part in {"source": source, "photo": photo, "map": map, "look": look}.items():
            object.__setattr__(self, name, part)

    def with_map(self, kind: str | None = None, /, **settings: Any) -> "View":
        """The view with some settings of its map changed, or with another kind of map, which keeps what both take."""
        row = map_kind(kind or self.map.kind)
        kept = {name: value for name, value in self.map.settings.items() if name in row.defaults}
        return replace(self, map=MapChoice(row.name, **row.defaults | kept | settings))

    def with_look(self, **changes: Any) -> "View":
        """The view drawn differently."""
        return replace(self, look=replace(self.look, **changes))

    @property
    def drawn_look(self) -> Look:
        """The look, with the diverging colour map where the map is signed."""
        return replace(self.look, colormap=DIVERGING) if self.map.row.signed else self.look

    def to_json(self) -> str:
        """All settings as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "View":
        """The view that to_json wrote, now, before a setting was added, or in the flat form of version 0.1.

        QueryError where the text is no view.
        """
        try:
            parts: dict[str, Any] = dict(json.loads(text))
            return cls(*_parts_of(parts if "source" in parts else _from_flat(parts)))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise QueryError(f"These are not the settings of a view ({error}).") from error


def _parts_of(parts: Mapping[str, Any]) -> tuple[ModelSource, PhotoInput, MapChoice, Look]:
    settings = {name: _with_tuples(value) for name, value in parts["map"]["settings"].items()}
    return (
        _from_known(ModelSource, parts["source"]),
        _from_known(PhotoInput, parts["photo"]),
        MapChoice(parts["map"]["kind"], **settings),
        _from_known(Look, parts["look"]),
    )


def _from_flat(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a view whose settings all lie on one level; the fit that wasn't named was "crop" then."""
    row = map_kind(flat.get("kind", DEFAULT))
    settings = {name: flat[name] for name in row.defaults if name in flat}
    source, photo = {**flat, "source": flat["model"]}, {"fit": "crop", **flat}
    return {"source": source, "photo": photo, "map": {"kind": row.name, "settings": settings}, "look": flat}


def _from_known(part: type[Part], settings: Mapping[str, Any]) -> Part:
    names: list[str] = [each.name for each in fields(part)]  # pyright: ignore[reportArgumentType]
    return part(**{name: settings[name] for name in names if name in settings})


def _with_tuples(value: Any) -> Any:
    """JSON has no tuples: a patch (row, col) comes back as a list."""
    return tuple(value) if isinstance(value, list) else value


def photo_of(image: str) -> ImageSource:
    """What record() takes for a view's image: the path, or the photo that "sample:<name>" names."""
    return sample_photo(image.removeprefix(SAMPLE)) if image.startswith(SAMPLE) else image


def second_recording(view: View, model: "Model") -> "Recording | None":
    """The other image of a likeness, as the same model sees it; None where the view names none."""
    from explorer.attention.recording import record  # torch, which a View itself does without

    image = view.map.other_image
    return None if image is None else record(model, photo_of(image), view.photo.size, view.photo.fit)


def shown_map(
    view: View, recording: "Recording", second: "Recording | None" = None, progress: Progress | None = None
) -> Float[np.ndarray, "row col"]:
    """The map that the view names.

    second: the recording of the other image of a likeness, where there is one already; else it is made. progress:
    called with how much is done and how much there is of a map that takes long.
    """
    return noted_map(view, recording, second, progress)[0]


def noted_map(
    view: View, recording: "Recording", second: "Recording | None" = None, progress: Progress | None = None
) -> Noted:
    """shown_map(), and what there is to say of it."""
    settings, likeness = dict(view.map.settings), view.map.row.needs(Likeness)
    if likeness and view.map.other_image is not None:
        settings[likeness.name] = second or second_recording(view, recording.model)
    heatmap, note = recording.map_with_note(view.map.kind, progress, **settings)
    return hide_artefacts(view.look, recording, heatmap), note


def shown_heads(view: View, recording: "Recording") -> Float[np.ndarray, "head row col"]:
    """Every head of the view's layer, as shown_map shows one; for kinds that have heads."""
    row = view.map.row
    if row.heads is None:
        raise QueryError(f"A map of kind {row.name} has no heads: it runs through all of them.")
    head = row.needs(HeadOrFusion)
    settings = {name: value for name, value in view.map.settings.items() if not head or name != head.name}
    return hide_artefacts(view.look, recording, row.heads(recording, **settings))


def hide_artefacts(
    look: Look, recording: "Recording", maps: Float[np.ndarray, "*maps row col"]
) -> Float[np.ndarray, "*maps row col"]:
    """Maps without the artefact tokens where the look hides them."""
    return without_artefacts(maps, artefact_mask(recording)) if look.hide_artefacts else maps


def shown_mask(look: Look, heatmap: Float[np.ndarray, "row col"]) -> Bool[np.ndarray, "row col"] | None:
    """The patches that hold the look's mass of what lies above 0; None without a threshold."""
    return None if look.mass is None else mass_mask(heatmap.clip(min=0), look.mass)


def limits(view: View, recording: "Recording", heatmap: Float[np.ndarray, "row col"]) -> tuple[float, float]:
    """The values that get the lowest and the highest colour."""
    shared = view.look.scale == "shared" and view.map.row.has_layers_and_heads
    return value_range(view, shown_heads(view, recording) if shared else heatmap)


def value_range(view: View, maps: Float[np.ndarray, "*maps row col"]) -> tuple[float, float]:
    """The values that get the lowest and the highest colour where these maps share them; of signed ones, -v and v."""
    if view.map.row.signed:
        highest = float(np.abs(maps).max())
        return -highest, highest
    return (0.0, 1.0) if view.look.scale == "raw" else (float(maps.min()), float(maps.max()))


def paint(
    look: Look,
    image: Image.Image,
    heatmap: Float[np.ndarray, "row col"],
    low: float,
    high: float,
    mask: Bool[np.ndarray, "row col"] | None = None,
) -> Image.Image:
    """The heatmap between low and high in colour over the image, the size of image; outside the mask a dark photo."""
    colors = colorize(enlarge(normalize(heatmap, low, high), image.size, look.resample), look.colormap)
    picture = blend(image.convert("RGB"), colors, look.opacity)
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
    progress: Progress | None = None,
    heatmap: Float[np.ndarray, "row col"] | None = None,
) -> Image.Image:
    """The view as an image: over the photo at its own resolution, up to 2048 pixels, or look.width pixels wide.

    photo: what the recording was made of; without it the picture is drawn over what the model saw. zoom: at least that
    many times the size that the model saw; second, progress: as in shown_map, whose result `heatmap` is where it is
    there already.
    """
    heatmap = shown_map(view, recording, second, progress) if heatmap is None else heatmap
    image = backdrop(recording.image, photo, recording.part.geometry, view.look.width, zoom)
    return paint(view.drawn_look, image, heatmap, *limits(view, recording, heatmap), shown_mask(view.look, heatmap))


def png(
    view: View,
    recording: "Recording",
    zoom: int = ZOOM,
    second: "Recording | None" = None,
    photo: ImageSource | None = None,
    heatmap: Float[np.ndarray, "row col"] | None = None,
) -> bytes:
    """What picture() draws as a PNG file, with every setting and where it comes from in its text entry "explorer"."""
    settings = PngInfo()
    settings.add_itxt("explorer", with_provenance(view.to_json(), recording))
    file = io.BytesIO()
    drawn = picture(view, recording, zoom, second, photo, heatmap=heatmap)
    drawn.save(file, "PNG", pnginfo=settings, compress_level=COMPRESSION)
    return file.getvalue()


def save_npz(view: View, recording: "Recording", second: "Recording | None" = None, made: Noted | None = None) -> bytes:
    """The view as an NPZ file: the same view of the same photo gives the same bytes.

    map (rows, cols) float32; heads (head, rows, cols) where the kind has them; mask (rows, cols) bool where mass is
    set; artefacts (rows, cols) bool where they are hidden, in map and heads; logits (class) where the model classifies;
    image (height, width, 3) uint8, what the model saw; model_name, prefix_tokens, precision, verified; settings:
    View.to_json() with where the file comes from, see explorer.rendering.provenance; signed: whether map has values for
    (above 0) and against; note: a sentence where map doesn't add up to its score, else ""; second as in shown_map;
    made: what noted_map() gave, where it is there already.
    """
    heatmap, note = made or noted_map(view, recording, second)
    arrays: dict[str, Any] = {
        "map": heatmap,
        "image": np.array(recording.image),
        "settings": np.array(with_provenance(view.to_json(), recording)),
        "model_name": np.array(recording.model_name),
        "prefix_tokens": np.array(recording.prefix_tokens, dtype=np.str_),
        "precision": np.array(recording.precision),
        "verified": np.array(recording.verified),
        "signed": np.array(view.map.row.signed),
        "note": np.array(note),
    }
    if view.map.row.has_layers_and_heads:
        arrays["heads"] = shown_heads(view, recording)
    if view.look.hide_artefacts:
        arrays["artefacts"] = artefact_mask(recording)
    if (mask := shown_mask(view.look, heatmap)) is not None:
        arrays["mask"] = mask
    if recording.logits is not None:
        arrays["logits"] = recording.logits
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()
