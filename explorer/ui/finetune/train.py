"""Step Train of the Fine-tune page: a live view of one run, which only reads its folder."""

import time
from typing import Any

import streamlit as st

from explorer import paths
from explorer.training.curves import loss_figure, score_figure
from explorer.training.runs.events import EventReader
from explorer.training.runs.folder import RunFolder, State
from explorer.training.runs.jobs import resume, stop
from explorer.ui.components.live_chart import live_chart, load_library
from explorer.ui.finetune.runs import go_to
from explorer.ui.messages import plain, show_errors
from explorer.ui.scores import show_confusion
from explorer.ui.visitor import check_may_train, starting
from explorer.words import duration_in_words, percent

MOST_STEPS = 1_500  # points drawn of the step curve; more are thinned evenly
UNTRAINED = "Before the first epoch, with a new classifier at random."
FROM_PROBE = (
    "Epoch 0 is the untrained classifier. A new classifier that begins as a linear probe of the features (see Plan) is "
    "far better from its first step on."
)
NEIGHBOURS = (
    "Each validation image takes the class of the training images most like it, by the features of the model before "
    "training: what it knows already."
)
STARTING = "Starting the training process, which loads PyTorch first"
PHASES = {
    "reading": "Reading the images",
    "loading": "Loading the model",
    "caching": "Preparing photos: the part that isn't trained runs once",
    "baseline": "Measuring the untrained classifier",
    "training": "Training",
    "saving": "Saving",
}


def show_run(folder: RunFolder) -> None:
    """Status, progress, curves and buttons of a run; redrawn every second while it is active."""
    state = folder.read_state()
    clock = 1.0 if state.active else None
    with st.container(key="live"):
        # Each fragment has a container of its own: where one run overtakes another, Streamlit may take out all that a
        # fragment drew before it draws it again, and what stands beside it would move up.
        with st.container():
            st.fragment(_status, run_every=clock)(folder, state.active)
        with show_errors():
            _buttons(folder, state)  # in no fragment: a click on a fragment that was just drawn again can be lost
        with st.container():
            st.fragment(_live, run_every=clock)(folder)
    load_library()


def _live(folder: RunFolder) -> None:
    with show_errors():
        events, damaged = _events(folder)
        if damaged:
            st.warning(f"Lines of events.jsonl that can't be read: {damaged:,}; the curves go on without them.")
        baseline = next((event for event in events if event["type"] == "baseline"), None)
        if baseline:
            _numbers(baseline, events)
            _curves(folder.name, events, baseline["metrics"])
            _confusion(folder.name, baseline["metrics"], any(event["type"] == "epoch" for event in events))


def _events(folder: RunFolder) -> tuple[list[dict[str, Any]], int]:
    """(all events of the run, how many lines are none); each redraw parses only what was added."""
    reader: EventReader = st.session_state.setdefault(f"events_{folder.path}", EventReader(folder.events))
    return reader.read(), reader.damaged


def _status(folder: RunFolder, drawn_active: bool) -> None:
    with show_errors():
        state = folder.read_state()
        _show_state(state)
        if state.active != drawn_active:
            st.rerun()  # so that the buttons fit, and the clock stops or starts


def _show_state(state: State) -> None:
    epochs = f"epoch {state.epoch} of {state.epochs}"
    if state.status == "running":
        st.progress(min(1.0, state.progress), progress_line(state))
    elif state.status == "queued":
        st.info(f"Waiting in line, place {state.place}: one training at a time runs on this machine.")
    elif state.status == "starting":
        st.progress(0.0, starting_line(time.time() - state.updated))
    elif state.status == "finished":
        st.success(f"Finished after {epochs}.")
    elif state.status == "stopped":
        st.info(f"Stopped after {epochs}; the best so far is kept." if state.checkpoint else "Stopped before training.")
    elif state.status == "interrupted":
        st.warning(f"Interrupted after {epochs}. {plain(state.error or '')}")
    else:
        st.error(plain(state.error or "The training failed."))


def starting_line(seconds: float) -> str:
    """What a run waits for whose process was started so many seconds ago: "Starting … · 12 s so far"."""
    return f"{STARTING} · {duration_in_words(seconds)} so far" if seconds >= 1 else STARTING


def progress_line(state: State) -> str:
    """ "Training, epoch 3 of 10 · 120 images per second · 8 s left", "Reading the images · 40 % of them"."""
    parts = [PHASES.get(state.phase, STARTING)]
    if state.phase == "training":
        parts[0] += f", epoch {min(state.epoch + 1, state.epochs)} of {state.epochs}"
    if state.phase in ("reading", "caching") and state.progress:
        parts.append(f"{percent(state.progress, 0)} of them")
    if state.images_per_second and state.phase in ("caching", "training"):
        parts.append(f"{state.images_per_second:,.0f} images per second")
    if state.seconds_left and state.phase in ("caching", "training"):
        parts.append(f"{duration_in_words(state.seconds_left)} left")
    return " · ".join(parts)


def _buttons(folder: RunFolder, state: State) -> None:
    with st.container(horizontal=True):
        if state.active:
            asked = folder.stop_request.exists()
            label = "Stopping" if asked else "Stop"
            st.button(
                label, key=f"stop_{folder.name}", disabled=asked, icon=":material/stop:", on_click=_stop, args=(folder,)
            )
            return
        if state.checkpoint and st.button("See the result", key=f"see_{folder.name}", type="primary"):
            go_to("Result")
        if state.status != "finished" and st.button(
            "Resume", key=f"resume_{folder.name}", icon=":material/play_arrow:"
        ):
            with starting():
                check_may_train()
                resume(folder.name, paths.runs())
            st.rerun()


def _stop(folder: RunFolder) -> None:
    with show_errors():
        stop(folder.name, paths.runs())


def _numbers(baseline: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """Validation accuracy before training, by neighbours, now, and of the weights that are kept."""
    epochs = [event for event in events if event["type"] == "epoch"]
    kept = next((event for event in reversed(epochs) if event["best"]), None)
    figures = {
        "Untrained classifier": (baseline["metrics"]["accuracy"], UNTRAINED),
        "Nearest neighbours": (baseline["knn_accuracy"], NEIGHBOURS),
        "Last epoch": (epochs[-1]["val_accuracy"] if epochs else None, "After the last finished epoch."),
        "Kept weights": (
            kept["val_accuracy"] if kept else None,
            "At the lowest validation loss: those weights are kept.",
        ),
    }
    st.caption("Validation accuracy")
    with st.container(horizontal=True):
        for title, (value, help) in figures.items():
            st.metric(title, "–" if value is None else percent(value), help=help, border=True)


def _curves(name: str, events: list[dict[str, Any]], baseline: dict[str, Any]) -> None:
    left, right = st.columns(2, gap="medium")
    events = thin_steps(events)
    with left:
        live_chart(loss_figure(events, baseline), key=f"loss_{name}")
    with right:
        live_chart(score_figure(events, baseline), key=f"score_{name}")
    st.caption(FROM_PROBE)


def thin_steps(events: list[dict[str, Any]], most: int = MOST_STEPS) -> list[dict[str, Any]]:
    """The events with about `most` of their steps at most, evenly chosen, the newest always among them."""
    steps = [event["step"] for event in events if event["type"] == "step"]
    kept = {*steps[:: len(steps) // most + 1], *steps[-1:]}
    return [event for event in events if event["type"] != "step" or event["step"] in kept]


def _confusion(name: str, baseline: dict[str, Any], trained: bool) -> None:
    with st.expander("Confusion matrix before training", expanded=not trained):
        show_confusion(baseline, f"baseline_{name}", width=560)
