import math

import pytest

from explorer.errors import ExplorerError, PlanError
from explorer.training.plan import LEARNING_RATES, Plan


def test_unknown_key_is_refused_with_the_close_one():
    with pytest.raises(PlanError, match="'epoch'; did you mean 'epochs'"):
        Plan.from_dict({"epoch": 3})
    with pytest.raises(TypeError):
        Plan(epoch=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": "last-0"}, "head, all or last-N"),
        ({"train": "body"}, "head, all or last-N"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": 2.5}, "epochs must be int"),
        ({"epochs": True}, "epochs must be int"),
        ({"lr": 0.0}, "lr must be more than 0"),
        ({"lr": math.nan}, "finite"),
        ({"lr": "fast"}, "lr must be float or none"),
        ({"layer_decay": 1.5}, "layer_decay"),
        ({"batch_size": -4}, "batch_size"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"val_fraction": 0.0}, "val_fraction"),
        ({"augmentation": "much"}, "none, flip, full"),
        ({"precision": "int8"}, "precision"),
        ({"cache": "memory"}, "cache must be one of disk, none"),
        ({"weight_decay": -0.1}, "negative"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_values_are_refused(settings, words):
    with pytest.raises(PlanError, match=words) as caught:
        Plan.from_dict(settings)
    assert isinstance(caught.value, ExplorerError)


@pytest.mark.parametrize("train", ["head", "last-2", "all"])
def test_defaults_suit_what_is_trained(train):
    plan = Plan(train=train).resolved()
    assert plan.lr == LEARNING_RATES[train.split("-")[0]]
    assert plan.layer_decay == (1.0 if train == "head" else 0.75)
    assert Plan(train=train, lr=0.5, layer_decay=0.9).resolved() == Plan(train=train, lr=0.5, layer_decay=0.9)


def test_the_more_is_trained_the_smaller_the_steps():
    assert LEARNING_RATES["head"] > LEARNING_RATES["last"] > LEARNING_RATES["all"]


def test_trained_blocks():
    assert [Plan(train=train).trained_blocks(12) for train in ("head", "last-3", "all")] == [0, 3, 12]
    with pytest.raises(PlanError, match="12 blocks, so last-13 is too many"):
        Plan(train="last-13").trained_blocks(12)


def test_which_plans_need_full_passes():
    assert Plan(train="all").full_passes and Plan(augmentation="full").full_passes
    assert not Plan(train="last-2").full_passes
    assert Plan().views == 2 and Plan(augmentation="none").views == 1


def test_survives_json_and_the_command_line():
    from explorer.cli import build_parser

    plan = Plan(train="last-2", lr=3e-4, class_weights=True, early_stopping=4, augmentation="none", seed=7)
    assert Plan.from_dict(plan.to_dict()) == plan
    typed = "--train last-2 --lr 3e-4 --class-weights --early-stopping 4 --augmentation none --seed 7"
    args = build_parser().parse_args(["finetune", "photos.zip", *typed.split()])
    assert Plan(**{key: getattr(args, key) for key in plan.to_dict()}) == plan
