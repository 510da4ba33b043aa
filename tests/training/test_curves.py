"""The charts of a run draw the numbers of its events, in words that people read."""

from typing import Any

import pytest

from explorer.training.curves import COMPARED, compare_figure, loss_figure, score_figure

KEYS = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "train_f1_macro", "val_f1_macro")
EPOCHS = [{"type": "epoch", "epoch": n, **{key: n / 10 + place for place, key in enumerate(KEYS)}} for n in (1, 2)]
STEPS = [{"type": "step", "step": n, "loss": 3.0 / n} for n in range(1, 9)]
EVENTS: list[dict[str, Any]] = [{"type": "start", "steps_an_epoch": 4}, *STEPS[:4], EPOCHS[0], *STEPS[4:], EPOCHS[1]]
BASELINE = {"loss": 2.0, "accuracy": 0.25, "f1_macro": 0.2}


def lines(figure) -> dict[str, tuple[list[float], list[float]]]:
    return {line.name: (list(line.x), list(line.y)) for line in figure.data}


def test_loss_of_steps_lies_within_the_epochs_and_validation_begins_with_the_untrained_head():
    drawn = lines(loss_figure(EVENTS, BASELINE))
    assert drawn["train, each step"] == ([n / 4 for n in range(1, 9)], [3.0 / n for n in range(1, 9)])
    assert drawn["train"] == ([1, 2], [0.1, 0.2])
    assert drawn["validation"] == ([0, 1, 2], [2.0, 1.1, 1.2])


def test_scores_are_drawn_in_percent():
    figure = score_figure(EVENTS, BASELINE)
    assert lines(figure)["accuracy, validation"] == ([0, 1, 2], pytest.approx([25, 310, 320]))
    assert lines(figure)["F1 macro, train"] == ([1, 2], pytest.approx([410, 420]))
    assert figure.layout.yaxis.ticksuffix == " %" and figure.layout.yaxis.title.text == "accuracy and F1"


def test_the_legend_lies_below_out_of_the_reach_of_the_toolbar():
    for figure in (loss_figure(EVENTS), score_figure(EVENTS), compare_figure({"one": EVENTS})):
        legend = figure.layout.legend
        assert legend.y < 0 and legend.yanchor == "top" and legend.yref in (None, "paper")


def test_before_the_first_step_there_are_only_the_baselines():
    assert lines(loss_figure(EVENTS[:1], BASELINE)) == {"validation": ([0], [2.0])}


def test_a_run_is_called_in_the_chart_as_the_person_calls_it():
    assert lines(compare_figure({'<b>1</b> "x" & y': EVENTS})).keys() == {'&lt;b&gt;1&lt;/b&gt; "x" &amp; y'}


@pytest.mark.parametrize("key", COMPARED)
def test_runs_are_compared_by_one_line_each(key):
    figure = compare_figure({"one": EVENTS, "two": EVENTS[:6]}, key)
    percent = key != "val_loss"
    values = [event[key] * (100 if percent else 1) for event in EPOCHS]
    assert lines(figure) == {"one": ([1, 2], values), "two": ([1], values[:1])}
    assert figure.layout.yaxis.title.text == COMPARED[key]
    assert figure.layout.yaxis.ticksuffix == (" %" if percent else None)
