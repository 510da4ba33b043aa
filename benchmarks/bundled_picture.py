"""Draw the README's picture of the bundled model: photos with its attention from an early, a middle and a late layer.

python -m benchmarks.bundled_picture --out docs/images/bundled.jpg
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import explorer
from explorer.data.samples import sample_photo

PHOTOS = ("cat", "flower", "rocket", "coffee")
SIDE, GAP, LINE = 280, 12, 34
BACKGROUND, INK = (255, 255, 255), (40, 40, 40)


def strip(model: explorer.Model, name: str, layers: list[int]) -> list[Image.Image]:
    """Return a photo as the model saw it and its head-mean cls attention over it, one picture per layer."""
    recording = explorer.record(model, sample_photo(name), size=2 * model.input_size)
    pictures = [recording.image]
    pictures += [explorer.overlay(recording.image, recording.attention(layer)) for layer in layers]
    return [picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for picture in pictures]


def sheet(model: explorer.Model, layers: list[int]) -> Image.Image:
    """Return all strips below each other under a line of titles."""
    titles = ["photo", *(f"layer {layer}" for layer in layers)]
    width, height = len(titles) * (SIDE + GAP) - GAP, LINE + len(PHOTOS) * (SIDE + GAP) - GAP
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(20)
    for column, title in enumerate(titles):
        draw.text((column * (SIDE + GAP) + SIDE / 2, LINE / 2 - 2), title, INK, font, anchor="mm")
    for line, name in enumerate(PHOTOS):
        for column, part in enumerate(strip(model, name, layers)):
            picture.paste(part, (column * (SIDE + GAP), LINE + line * (SIDE + GAP)))
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/bundled.jpg"))
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 6, 9])
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(explorer.load_model("bundled", device="cpu"), args.layers).save(args.out, quality=88)


if __name__ == "__main__":
    main()
