"""Draw docs/explain.md's pictures: one photo, and every kind of map of the class that the bundled model sees in it.

python -m benchmarks.explain_pictures --out docs/images
"""

import argparse
from dataclasses import replace
from pathlib import Path

from PIL import Image

import explorer
from explorer.attention.maps.table import MAP_KINDS
from explorer.data.samples import sample_photo
from explorer.rendering.view import MapChoice, PhotoInput, View, picture

PHOTO, SIDE, QUALITY = "astronaut", 224, 80


def map_pictures(model: explorer.Model) -> dict[str, Image.Image]:
    """The photo beside each kind of map of it, with the kind's defaults."""
    recording = explorer.record(model, sample_photo(PHOTO))
    view = View(model.source, PhotoInput(f"sample:{PHOTO}"))
    pictures = {}
    for kind, row in MAP_KINDS.items():
        shown = replace(view, map=MapChoice(kind, **row.defaults))
        sheet = Image.new("RGB", (2 * SIDE + 8, SIDE), "white")
        for column, part in enumerate((recording.image, picture(shown, recording))):
            sheet.paste(part.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (column * (SIDE + 8), 0))
        pictures[kind] = sheet
    return pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    for kind, sheet in map_pictures(explorer.load_model(args.model, device="cpu")).items():
        sheet.save(args.out / f"map-{kind.replace('_', '-')}.webp", quality=QUALITY)


if __name__ == "__main__":
    main()
