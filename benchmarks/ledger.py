"""How exactly the ledger adds up, family by family: `python -m benchmarks.ledger` prints the table of docs/explain.md.

Every family is a small model with random weights, biases and norms, of which the ledger's sum must be the logit, or the
likeness where the family has no classifier here. Families that are refused are listed with the reason.
"""

from collections.abc import Iterator

import torch

import explorer
from explorer.attention.ledger import ledger
from explorer.errors import ExplorerError
from explorer.models.backbone import Model
from explorer.models.timm_models import wrap_timm
from explorer.models.transformers_models import create_transformers, wrap_transformers
from tests.explicit import with_biases
from tests.models.test_families import ACCOUNTABLE, TRANSFORMERS, architectures, sharpen, small_size, small_timm, trait
from tests.tiny import photo


def models() -> Iterator[tuple[str, str, Model, int | None]]:
    """(family, model, the model, its size)."""
    for family, (name, _) in ACCOUNTABLE.items():
        model = wrap_timm(small_timm(name), name)
        yield family, f"timm:{name}", model, small_size(model)
    for model_type, (settings, _) in TRANSFORMERS.items():
        torch.manual_seed(0)
        model = wrap_transformers(create_transformers(model_type, **settings), model_type)
        yield f"{model_type} of transformers", "small settings", model, 64


def plain_vits() -> Iterator[str]:
    """One of timm's architectures for each trait that sets some apart."""
    for names in architectures().values():
        first: dict[tuple, str] = {}
        for name in names:
            first.setdefault(trait(name), name)
        yield from first.values()


def outcome(model: Model, size: int | None) -> str:
    """The ledger's error, of 1 + |score|, or the reason why there is none."""
    with torch.no_grad():
        sharpen(model.module)
    try:
        recording = explorer.record(with_biases(model), photo(), size)
        other = None if recording.logits is not None else explorer.record(model, photo(seed=9), size)
        account = ledger(recording, None if other else 1, other)
    except ExplorerError as error:
        return f"refused: {error}"
    return f"{account.error:.0e}"


def main() -> None:
    print("| family | model | error |\n|---|---|---|")
    for family, name, model, size in models():
        print(f"| {family} | {name} | {outcome(model, size)} |", flush=True)
    errors, refused = [], {}
    for name in plain_vits():
        try:
            model = wrap_timm(small_timm(name), name)
        except ExplorerError as error:
            refused[name] = str(error)
            continue
        result = outcome(model, small_size(model))
        if result.startswith("refused"):
            refused[name] = result
        else:
            errors.append(float(result))
    print(f"\nAll {len(errors)} kinds of plain ViT in timm: at most {max(errors):.0e}. Refused:")
    for name, reason in refused.items():
        print(f"- {name}: {reason}")


if __name__ == "__main__":
    main()
