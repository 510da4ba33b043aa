"""Sample photos that come inside scikit-image and scikit-learn, so that none needs a download."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from explorer.data.images import open_image
from explorer.errors import ImageError

SAMPLE = "sample:"  # an image of a view that begins so is one of these


class _Sample(NamedTuple):
    title: str
    package: str
    path: str


_TABLE = {
    "cat": _Sample("Cat", "skimage", "data/chelsea.png"),
    "astronaut": _Sample("Astronaut", "skimage", "data/astronaut.png"),
    "coffee": _Sample("Coffee", "skimage", "data/coffee.png"),
    "rocket": _Sample("Rocket", "skimage", "data/rocket.jpg"),
    "motorcycle": _Sample("Motorcycle", "skimage", "data/motorcycle_left.png"),
    "flower": _Sample("Flower", "sklearn", "datasets/images/flower.jpg"),
    "china": _Sample("Chinese temple", "sklearn", "datasets/images/china.jpg"),
}

SAMPLES: dict[str, str] = {name: sample.title for name, sample in _TABLE.items()}


def sample_photo(name: str) -> Image.Image:
    """The sample photo of that name (a key of SAMPLES) as PIL RGB; ImageError names the choices for any other."""
    return open_image(sample_file(name)[1])


def sample_file(name: str) -> tuple[str, bytes]:
    """(file name, content) of a sample photo; ImageError as for sample_photo."""
    if name not in _TABLE:
        raise ImageError(f"There is no sample photo '{name}'; choose one of {', '.join(_TABLE)}.")
    file = _file(_TABLE[name])
    return file.name, file.read_bytes()


def _file(sample: _Sample) -> Path:
    """Where it lies. Nothing is imported: scikit-learn takes a second, and skimage.data may ask the network."""
    spec = find_spec(sample.package)
    assert spec and spec.submodule_search_locations, f"requirements.txt names {sample.package}"
    return Path(spec.submodule_search_locations[0], sample.path)
