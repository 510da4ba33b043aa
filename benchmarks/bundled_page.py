"""Make docs/page, the page with the bundled model inside, again: `python -m benchmarks.bundled_page`.

It holds no second copy of the weights and the runtime but reads the repository's own, so it works wherever the whole
repository is hosted as files. The model is exported only where its weights changed or `--export` asks for it.
"""

import argparse
import json
import re
from pathlib import Path

import explorer
from explorer import paths
from explorer.web.site.about import about_model
from explorer.web.site.export import Exported, export, refer_to
from explorer.web.site.page import INDEX, Files, page

FOLDER = Path(__file__).parent.parent / "docs" / "page"
WEIGHTS = paths.BUNDLED / "model.safetensors"
FILES = Files(runtime="../../explorer/web/vendor/ort.wasm.gz", weights="../../checkpoints/bundled/model.safetensors")


def settings_of(html: str) -> dict:
    """What a page knows of its model."""
    found = re.search(r'<script type="application/json" id="about">(.*?)</script>', html, re.DOTALL)
    assert found, "this is no page of a model"
    return json.loads(found[1])


def exported() -> Exported:
    """The model as the page in docs/ has it."""
    told = settings_of((FOLDER / INDEX).read_text("utf-8"))
    onnx = (FOLDER / FILES.model).read_bytes()
    return Exported(onnx, tuple(told["scales"]), told["dim"], WEIGHTS.stat().st_size)


def make(model: explorer.Model, made: Exported) -> str:
    """The page of the model."""
    return page(model, made, about_model(model), {}, FILES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", action="store_true", help="also export the model, after a change of its weights")
    args = parser.parse_args()
    model = explorer.load_model("bundled", device="cpu")
    FOLDER.mkdir(exist_ok=True)
    again = args.export or not (FOLDER / FILES.model).is_file()
    made = refer_to(export(model), WEIGHTS) if again else exported()
    (FOLDER / FILES.model).write_bytes(made.onnx)
    (FOLDER / INDEX).write_text(make(model, made), encoding="utf-8")
    for path in sorted(FOLDER.iterdir()):
        print(f"wrote {path}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
