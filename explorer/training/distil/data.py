"""Photos for distillation: decoded once into one memory-mapped file, cropped and augmented in batches."""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.files import whole_file

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = (0.299, 0.587, 0.114)
SHORT_SIDE = 224
SUFFIXES = {".jpg", ".jpeg", ".png"}


class DistilDataError(ExplorerError):
    """The archives given to distillation hold no usable photos."""


@dataclass(frozen=True)
class Augmentation:
    """How a crop is drawn and changed; the teacher always sees the same pixels as the student."""

    min_scale: float = 0.2  # smallest share of the photo's area in a crop
    colour: float = 0.4  # strength of brightness, contrast and saturation changes
    grey: float = 0.05  # share of crops turned grey
    mixup: float = 0.2  # share of batches blended with themselves in another order
    cutmix: float = 0.2  # share of batches with a rectangle pasted from another crop


def is_held_out(name: str) -> bool:
    """Say whether a photo belongs to the tenth that is never trained on, from its name alone."""
    return int(hashlib.sha1(name.encode()).hexdigest(), 16) % 10 == 0


def find_archives(sources: list[Path]) -> list[Path]:
    """List the zip files among the given files and folders, in a fixed order."""
    return sorted(path for source in sources for path in ([source] if source.is_file() else source.glob("*.zip")))


def decode(content: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a photo with its short side at most SHORT_SIDE."""
    photo = Image.open(io.BytesIO(content), formats=("JPEG", "PNG")).convert("RGB")
    scale = SHORT_SIDE / min(photo.size)
    if scale < 1:
        photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
    return np.array(photo)


def build_store(archives: list[Path], out: Path) -> None:
    """Write every photo of the archives into one flat uint8 file, plus an index of names, offsets and sizes."""
    index, offset = [], 0
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / "photos.bin") as partial, partial.open("wb") as file:
        for archive in archives:
            with zipfile.ZipFile(archive) as opened:
                for name in sorted(n for n in opened.namelist() if Path(n).suffix.lower() in SUFFIXES):
                    pixels = decode(opened.read(name))
                    index.append({"name": f"{archive.stem}/{name}", "offset": offset, "size": pixels.shape[:2]})
                    file.write(pixels.tobytes())
                    offset += pixels.size
        if not index:
            raise DistilDataError("No .jpg or .png photo was found in the .zip files given with --data.")
        (out / "photos.json").write_text(json.dumps(index))


class PhotoStore:
    """Photos read from the file that build_store wrote, without loading it whole."""

    def __init__(self, folder: Path):
        self.index = json.loads((folder / "photos.json").read_text())
        self.pixels = np.memmap(folder / "photos.bin", np.uint8, "r")

    def __len__(self) -> int:
        return len(self.index)

    def name(self, number: int) -> str:
        return self.index[number]["name"]

    def photo(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Return one photo."""
        entry = self.index[number]
        height, width = entry["size"]
        return self.pixels[entry["offset"] : entry["offset"] + height * width * 3].reshape(height, width, 3)

    def split(self) -> tuple[list[int], list[int]]:
        """Return the numbers of the photos to train on and of those held out."""
        held_out = [i for i in range(len(self)) if is_held_out(self.name(i))]
        return sorted(set(range(len(self))) - set(held_out)), held_out


def resize(pixels: UInt8[np.ndarray, "rows cols 3"], height: int, width: int) -> UInt8[Tensor, "3 height width"]:
    """Resize, channels first, smoothing where it shrinks."""
    batch = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    return F.interpolate(batch, (height, width), mode="bicubic", antialias=True)[0]


def random_crop(
    photo: UInt8[np.ndarray, "height width 3"], size: int, min_scale: float, rng: np.random.Generator
) -> UInt8[Tensor, "3 {size} {size}"]:
    """Cut a random rectangle (area min_scale to 1, sides 3:4 to 4:3) and resize it."""
    height, width = photo.shape[:2]
    area = height * width * rng.uniform(min_scale, 1)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    h, w = min(height, round((area / ratio) ** 0.5)), min(width, round((area * ratio) ** 0.5))
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    return resize(photo[top : top + h, left : left + w], size, size)


def centre_crop(
    photo: UInt8[np.ndarray, "height width 3"], size: int, share: float = 0.95
) -> UInt8[Tensor, "3 {size} {size}"]:
    """Cut the middle square (this share of the short side) and resize it."""
    height, width = photo.shape[:2]
    side = round(min(height, width) * share)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(photo[top : top + side, left : left + side], size, size)


def normalise(images: Shaped[Tensor, "image 3 height width"]) -> Float[Tensor, "image 3 height width"]:
    """Turn uint8 or [0, 1] float into what the model takes: ImageNet's mean 0 and deviation 1."""
    images = images.float() / 255 if images.dtype == torch.uint8 else images
    mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images - mean) / std


def jitter(
    images: Float[Tensor, "image 3 height width"], colour: float, grey: float, rng: np.random.Generator
) -> Float[Tensor, "image 3 height width"]:
    """Change brightness, contrast and saturation of each [0, 1] float image by its own random factors."""
    count = len(images)
    light, contrast, saturation = torch.from_numpy(rng.uniform(1 - colour, 1 + colour, (3, count, 1, 1, 1))).float()
    saturation = saturation * torch.from_numpy(rng.random((count, 1, 1, 1)) >= grey)
    weights = torch.tensor(GREY).view(1, 3, 1, 1)
    images = images * light
    luminance = (images * weights).sum(1, keepdim=True)
    images = luminance + (images - luminance) * saturation
    middle = luminance.mean((2, 3), keepdim=True)
    return (middle + (images - middle) * contrast).clamp(0, 1)


def mix(
    images: Float[Tensor, "image 3 height width"], settings: Augmentation, rng: np.random.Generator
) -> Float[Tensor, "image 3 height width"]:
    """Blend (mixup) or patch (cutmix) the batch with its own reverse order, or leave it."""
    draw, size = rng.random(), images.shape[-1]
    if draw < settings.mixup:
        return images.lerp(images.flip(0), float(rng.uniform(0.05, 0.5)))
    if draw < settings.mixup + settings.cutmix:
        side = round(size * rng.uniform(0.3, 0.7))
        top, left = rng.integers(size - side + 1, size=2)
        images, other = images.clone(), images.flip(0)
        images[..., top : top + side, left : left + side] = other[..., top : top + side, left : left + side]
    return images


def training_batch(
    store: PhotoStore, numbers: list[int], size: int, settings: Augmentation, rng: np.random.Generator
) -> Float[Tensor, "image 3 {size} {size}"]:
    """Return normalised, augmented random crops of the photos with these numbers."""
    crops = torch.stack([random_crop(store.photo(i), size, settings.min_scale, rng) for i in numbers])
    flips = torch.from_numpy(rng.random(len(crops)) < 0.5).view(-1, 1, 1, 1)
    images = torch.where(flips, crops.flip(-1), crops).float() / 255
    return normalise(mix(jitter(images, settings.colour, settings.grey, rng), settings, rng))
