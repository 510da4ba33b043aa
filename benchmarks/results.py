"""Accuracy on real data: the command of each line, then mean and spread over seeds.

    python -m benchmarks.results --data ../shared/data/datasets

Data with folders for validation or test are used as given; the other holds out 20 %. The seed changes the split (where
there is one to draw), the new head, the order and the flips.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from explorer.models.backbone import Model
from explorer.models.loading import load_model
from explorer.training.finetune import finetune
from explorer.training.plan import Plan

DEIT = "../shared/data/weights/deit_tiny_patch16_224.safetensors"
# Share kept for validation where the set has no validation folder, and training images per class: what two cores do in
# 15 minutes.
SETS: dict[str, dict[str, Any]] = {
    "hymenoptera": {},
    "shoe_sandal_boot": {"val_fraction": 0.2, "images_per_class": 100},
    "cifar10_subset": {"images_per_class": 50},
}
EPOCHS = {"head": 10, "last-2": 5}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/datasets"))
    parser.add_argument("--models", nargs="+", default=[DEIT, "bundled"])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--train", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--all-images", action="store_true", help="train on every image, which takes about an hour")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["EXPLORER_QUEUE"] = scratch
        print("| data | model | train | accuracy | F1 macro | F1 weighted | untrained head | neighbours |")
        print("|---|---|---|---|---|---|---|---|")
        commands = []
        for name, data, train in product(args.models, args.sets, args.train):
            model = load_model(name, device="cpu")
            plans = [plan_for(data, train, seed, args) for seed in range(args.seeds)]
            found = [measure(args.data / f"{data}.zip", model, plan, Path(scratch)) for plan in plans]
            print(line(data, Path(name).stem, train, found), flush=True)
            commands.append(command(args.data / f"{data}.zip", name, plans[0], args.seeds))
    print(f"\nMean and standard deviation over {args.seeds} seeds. The command of each line, in the same order:\n")
    print("\n".join(commands))


def command(data: Path, model: str, plan: Plan, seeds: int) -> str:
    """What a person would type for one line."""
    usual = Plan().to_dict()
    changed = {key: value for key, value in plan.to_dict().items() if value != usual[key]}
    options = " ".join(
        f"--{key.replace('_', '-')}" + ("" if value is True else f" {value}") for key, value in changed.items()
    )
    seed = f"--seed {{0..{seeds - 1}}}"
    parts = ("python -m explorer finetune", str(data), "--model", model, options, seed)
    return "    " + " ".join(part for part in parts if part)


def plan_for(data: str, train: str, seed: int, args: argparse.Namespace) -> Plan:
    settings = {key: value for key, value in SETS[data].items() if key != "images_per_class" or not args.all_images}
    return Plan(train=train, epochs=EPOCHS[train], seed=seed, **settings)


def measure(data: Path, model: Model, plan: Plan, scratch: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        return finetune(data, model, plan, Path(folder) / "run", progress=False).metrics


def line(data: str, model: str, train: str, found: Sequence[dict[str, Any]]) -> str:
    scores = [spread([metrics[key] for metrics in found]) for key in ("accuracy", "f1_macro", "f1_weighted")]
    scores.append(spread([metrics["baseline"]["accuracy"] for metrics in found]))
    scores.append(spread([metrics["knn_accuracy"] for metrics in found]))
    return f"| {data} | {model} | {train} | {' | '.join(scores)} |"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


if __name__ == "__main__":
    main()
