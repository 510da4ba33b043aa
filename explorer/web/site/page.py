"""A web page with the model inside: a folder, or one file, that needs no server and sends nothing anywhere.

The visitor's browser runs the model as ONNX (explorer/web/site/export.py) in onnxruntime-web, and the live canvas
draws its attention from the q and k that come out of it.
"""

import base64
import json
import re
import shutil
from dataclasses import asdict, dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import explorer
from explorer.attention.queries import default_layer, default_query
from explorer.data.images import jpeg_uri
from explorer.data.samples import sample_photo
from explorer.errors import ModelError
from explorer.models.backbone import Model
from explorer.rendering.colormaps import COLORMAPS, lookup_table
from explorer.rendering.view import Look
from explorer.web.payload import LOOK, canvas_markup, canvas_script, without_imports
from explorer.web.site.export import Exported, export
from explorer.words import list_in_words, percent, size_in_words

HERE = Path(__file__).parent
RUNTIME = HERE.parent / "vendor"
LARGEST = 200 * 2**20  # bytes of weights that a page may ask a visitor to fetch
SAMPLE_SIDE = 512  # pixels of the sample photo's longer side
NAMED = 12  # classes in the sentence about what it answers
INDEX = "index.html"


@dataclass(frozen=True)
class About:
    """What the page says of the model beside its name; all of it is escaped."""

    licence: str = ""
    card: str = ""  # address of its card
    accuracy: float | None = None  # on validation images, of a fine-tuned model
    validated: int | None = None  # how many those were
    unsure: float | None = None  # below this probability of the likeliest class the page says so


@dataclass(frozen=True)
class Files:
    """Addresses of what the page reads, from where it lies; weights: of those that the model refers to, if it does."""

    model: str = "model.onnx"
    runtime: str = "ort.wasm.gz"
    weights: str = ""


ON_GPU = Files(runtime="ort.webgpu.wasm.gz")


def write_site(
    model: Model,
    out: Path,
    about: About = About(),
    single_file: bool = False,
    half: bool = True,
    webgpu: bool = False,
) -> Path:
    """Write the page of the model into a new folder; its index.html.

    single_file: everything in index.html, as one_file(). webgpu: with the runtime that can use a GPU. Errors as
    one_file(), and ModelError for an `out` that exists and for a runtime that isn't here.
    """
    check_new(out)
    beside = ON_GPU if webgpu else Files()
    if not (RUNTIME / beside.runtime).is_file():
        fetch = "python .ci/vendor_onnxruntime.py --webgpu"
        raise ModelError(f"The runtime for WebGPU isn't here: run {fetch} in a checkout.")
    exported = _exported(model, half)
    out.mkdir(parents=True, exist_ok=True)
    files = _files(exported, beside)
    index = out / INDEX
    index.write_text(page(model, exported, about, files if single_file else {}, beside), encoding="utf-8")
    if not single_file:
        for name, content in files.items():
            (out / name).write_bytes(content)
    shutil.copy(RUNTIME / "LICENSE", out / "onnxruntime-LICENSE.txt")
    return index


def check_new(out: Path) -> None:
    """Raise ModelError for a place where something is."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out} exists already: give a new folder for the page.")


def one_file(model: Model, about: About = About(), half: bool = True) -> str:
    """The page as one HTML file, which opens from a disk. half: weights in float16.

    Raises ModelError for a model that is too large for a page or can't be exported.
    """
    exported = _exported(model, half)
    return page(model, exported, about, _files(exported))


def _exported(model: Model, half: bool) -> Exported:
    size = model.num_parameters * (2 if half else 4)
    if size > LARGEST:
        raise ModelError(
            f"A page of {model.name} would make each visitor fetch {size_in_words(size)}, above the limit of "
            f"{size_in_words(LARGEST)}: choose a smaller model."
        )
    return export(model, half)


def _files(exported: Exported, beside: Files = Files()) -> dict[str, bytes]:
    """What the page reads beside its own text, by name."""
    return {beside.model: exported.onnx, beside.runtime: (RUNTIME / beside.runtime).read_bytes()}


def page(model: Model, exported: Exported, about: About, inside: dict[str, bytes], beside: Files = Files()) -> str:
    """The HTML; inside: the files that it holds itself instead of fetching those beside it."""
    markup, css = canvas_markup()
    assets = "\n".join(
        f'<script type="application/octet-stream;base64" id="{name}">{base64.b64encode(content).decode()}</script>'
        for name, content in inside.items()
    )
    style = Template((HERE / "site.css").read_text("utf-8")).substitute(canvas=css)
    settings = json.dumps(page_settings(model, exported, about) | {"files": asdict(beside), "webgpu": beside == ON_GPU})
    return Template((HERE / "site.html").read_text("utf-8")).substitute(
        version=explorer.__version__,
        title=escape(model.name),
        about=escape(f"Choose a photo: this page shows what {model.name} makes of it, and where it looks."),
        css=style,
        markup=markup,
        footer=footer(model, exported, about, whole=bool(inside)),
        settings=settings.replace("</", "<\\/"),
        assets=assets,
        worker=worker_script(beside == ON_GPU).replace("</", "<\\/"),
        script=f"{canvas_script()}\n{without_imports((HERE / 'site.js').read_text('utf-8'))}".replace("</", "<\\/"),
    )


def page_settings(model: Model, exported: Exported, about: About) -> dict[str, Any]:
    """What site.js and worker.js know of the model."""
    geometry = model.geometry_of((1, 1))
    return {
        "grid": model.grid(*geometry.input),
        "prefix": model.prefix_tokens,
        "default_query": default_query(model.prefix_tokens),
        "heads": model.num_heads,
        "depth": model.depth,
        "layer": default_layer(model.depth),
        "dim": exported.dim,
        "scales": exported.scales,
        "classes": model.class_names,
        "outputs": model.outputs,
        "unsure": about.unsure,
        "answers": _answers(model),
        "preparation": asdict(geometry) | {
            "interpolation": model.interpolation, "mean": model.mean, "std": model.std,
        },
        "look": {name: getattr(Look(), name) for name in LOOK} | {"grid": False, "mosaic": False},
        "colormaps": COLORMAPS,
        "tables": base64.b64encode(np.stack([lookup_table(name) for name in COLORMAPS]).tobytes()).decode(),
        "sample": _sample(),
        "bytes": exported.bytes,
    }  # fmt: skip


def footer(model: Model, exported: Exported, about: About, whole: bool) -> str:
    """How large, which licence, how good, when unsure, made by what; as HTML. whole: the page holds the weights."""
    where = "within this file" if whole else "to fetch once"
    sentences = [f"{model.num_parameters / 1e6:.1f} million weights, {size_in_words(exported.bytes)} {where}."]
    if about.accuracy is not None:
        of = f" of {about.validated:,} validation images" if about.validated else " of the validation images"
        sentences.append(f"It classified {percent(about.accuracy)}{of} correctly.")
    if about.unsure is not None:
        sentences.append(f"Below {100 * about.unsure:.3g} % the page calls it unsure.")
    if about.licence:
        sentences.append(f"Licence of the weights: {about.licence}.")
    text = escape(" ".join(sentences))
    card = f' <a href="{escape(about.card, quote=True)}" rel="noopener">Model card</a>.' if about.card else ""
    runtime = json.loads((RUNTIME / "version.json").read_text())
    made = escape(f"Computed by {runtime['name']} {runtime['version']} ({runtime['license']}); made with vit-explorer.")
    return f"<p>{text}{card}</p>\n<p>{made}</p>"


def worker_script(webgpu: bool = False) -> str:
    """The worker as one plain script: the runtime, `ort` with the names that worker.js uses of it, and its own code.

    No module, as the runtime is one in its file: browsers refuse workers that are modules to a page on a disk.
    """
    name = "ort.webgpu.mjs" if webgpu else "ort.mjs"
    runtime = (RUNTIME / name).read_text("utf-8").partition("//# sourceMappingURL")[0]
    exports = re.search(r"export\{([^}]*)\}", runtime)
    assert exports, "the runtime exports nothing"
    pairs = [pair.split(" as ") for pair in exports[1].split(",") if " as " in pair]
    names = {public: own for own, public in pairs}
    wanted = ", ".join(f"{name}: {names[name]}" for name in ("InferenceSession", "Tensor", "env"))
    plain = runtime.replace(exports[0], f"const ort = {{ {wanted} }}").replace("import.meta.url", "self.location.href")
    own = [without_imports((HERE / name).read_text("utf-8")) for name in ("pixels.js", "worker.js")]
    return "\n".join([plain, *(re.sub(r"^export ", "", text, flags=re.M) for text in own)])


def _answers(model: Model) -> str:
    """That it knows no other classes, with their names where those are few."""
    names = model.class_names
    if not names or model.outputs != "classes":
        return ""
    known = list_in_words(names, "or") if len(names) <= NAMED else f"one of {len(names):,} classes"
    return f"It answers only {known}, whatever the photo shows."


def _sample() -> str:
    """A photo to begin with, as a data address."""
    photo = sample_photo("cat")
    photo.thumbnail((SAMPLE_SIDE, SAMPLE_SIDE))
    file = BytesIO()
    photo.save(file, "JPEG", quality=85)
    return jpeg_uri(file.getvalue())
