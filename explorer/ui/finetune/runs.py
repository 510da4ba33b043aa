"""The steps of the page as tabs, the run that they show, and step Runs: all of them in a table and a chart."""

from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st

from explorer import paths
from explorer.files import stamp
from explorer.models import registry
from explorer.training.curves import COMPARED, CONFIG, compare_figure
from explorer.training.runs.events import read_events
from explorer.training.runs.folder import About
from explorer.training.runs.jobs import Run, delete, describe, list_runs
from explorer.ui.address import keep_in_address
from explorer.ui.datasets import data_title
from explorer.ui.messages import plain, shorten
from explorer.ui.scores import SCORES, axis_font
from explorer.words import duration_in_words

STEPS = ("Data", "Plan", "Train", "Result", "Runs")
RUN = "run"  # the name of the run that Train and Result show
_NEXT = "finetune_next"  # settings that the next run of the page begins with
SHOWN = {key: SCORES[key] for key in ("accuracy", "f1_macro")}  # the step Result has all
COLUMNS: dict[str, Any] = {  # widths in pixels: all columns are seen at once beside the sidebar
    "Run": st.column_config.TextColumn(width=95),
    "State": st.column_config.TextColumn(width=63),
    "Started": st.column_config.DatetimeColumn(format="D MMM, HH:mm", width=97),
    "Took": st.column_config.TextColumn(width=52),
    "Data": st.column_config.TextColumn(width=108),
    "Model": st.column_config.TextColumn(width=84),
    "Trained": st.column_config.TextColumn(width=94),
    "Learning rate": st.column_config.NumberColumn("LR", format="%g", width=62, help="Learning rate"),
    "Epochs": st.column_config.TextColumn(width=58),
    **{title: st.column_config.NumberColumn(format="%.1f %%", width=70) for title in SHOWN.values()},
    "Notes": st.column_config.TextColumn(width=90),
}
TABLE = "runs_table"
AT_FIRST = 4  # runs that are compared before a person chooses


def steps() -> list[Any]:
    """The tabs; only the open one needs to be drawn."""
    st.session_state.update(st.session_state.pop(_NEXT, {}))
    return list(st.tabs(STEPS, key="step", bind="query-params", on_change="rerun"))


def open_next(step: str, **settings: Any) -> None:
    """Have the next run of the page begin with that step open: for a callback."""
    st.session_state[_NEXT] = {"step": step, **settings}


def go_to(step: str, **settings: Any) -> None:
    """Run the page again with that step open."""
    open_next(step, **settings)
    st.rerun()


def pick_run() -> Run | None:
    """The run to show; the address names it, so that a reload or another tab shows the same one."""
    runs = {run.name: run for run in list_runs(paths.runs())}
    if not runs:
        return None
    keep_in_address(RUN)
    wanted = st.session_state.get(RUN) or st.query_params.get(RUN)
    if wanted not in (None, *runs):
        st.warning(f"There is no run named {plain(shorten(wanted))} any more; here is the newest.")
    st.session_state[RUN] = wanted if wanted in runs else next(iter(runs))
    # Not bound to the address: a bound widget leaves its default out, and the newest run is another one tomorrow.
    name = st.selectbox(
        "Run", list(runs), key=RUN, label_visibility="collapsed", persist_state="session",
        format_func=lambda name: label(runs[name]),
    )  # fmt: skip
    st.query_params[RUN] = name
    return runs[name]


def label(run: Run) -> str:
    """What a person calls it, and its name where that is another."""
    return run.name if run.title == run.name else f"{run.title} ({run.name})"


def show_runs() -> None:
    """All runs with their scores, compared in one chart; a click opens one, each can be renamed, noted and deleted."""
    runs = list_runs(paths.runs())
    if not runs:
        st.caption("No run yet.")
        return
    st.caption("Click a run to open it.")
    rows, columns = _table(runs)
    st.dataframe(
        rows, hide_index=True, column_config=columns, placeholder="–", alt="Runs", key=TABLE,
        on_select=lambda: _open(runs), selection_mode="single-cell",
    )  # fmt: skip
    for run in runs:
        if run.damage:
            st.warning(plain(f"{run.name}: {run.damage}"))
    _compare(runs)
    with st.container(horizontal=True):
        _describe(runs)
        _delete([run.name for run in runs if not run.state.active])


def _table(runs: list[Run]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and columns; names get the room of notes where there is none."""
    rows = [_row(run) for run in runs]
    if any(row["Notes"] for row in rows):
        return rows, COLUMNS
    for row in rows:
        del row["Notes"]
    return rows, COLUMNS | {"Run": st.column_config.TextColumn(width=185)}


def _open(runs: list[Run]) -> None:
    cells = st.session_state[TABLE]["selection"]["cells"]
    if cells:
        run = runs[cells[0][0]]
        open_next("Result" if run.metrics else "Train", **{RUN: run.name})


def _describe(runs: list[Run]) -> None:
    """A name and notes for a run; the folder and the checkpoint keep theirs."""
    by_name = {run.name: run for run in runs}
    with st.popover("Name and notes", icon=":material/edit_note:"):
        name = st.selectbox("Run to describe", list(by_name), key="run_to_describe")
        about = by_name[name].about
        title = st.text_input("Name", about.title, placeholder=name, key=f"title_of_{name}")
        note = st.text_area("Notes", about.note, key=f"note_of_{name}")
        if st.button("Save", key="save_about"):
            describe(name, About(title.strip(), note.strip()), paths.runs())
            st.rerun()


def _compare(runs: list[Run]) -> None:
    names = [run.name for run in runs]
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    labels = {run.name: label(run) for run in runs}
    compared = left.multiselect(
        "Compare", names, _alike(runs), key="compared_runs", format_func=labels.__getitem__
    )  # fmt: skip
    by = right.segmented_control(
        "By validation", list(COMPARED), default="val_loss", key="compared_by",
        format_func=lambda key: COMPARED[key].removeprefix("validation ").capitalize(),
        required=True,
    )  # fmt: skip
    chosen = {labels[run.name]: run.events() for run in runs if run.name in compared}
    events = {name: found for name, found in chosen.items() if any(event["type"] == "epoch" for event in found)}
    if events and by:
        figure = compare_figure(events, by)
        for update in (figure.update_xaxes, figure.update_yaxes):
            update(tickfont=axis_font(), title_font=axis_font())
        st.plotly_chart(figure, key="compared_chart", config=CONFIG, alt=f"Runs by {COMPARED[by]}")


def _alike(runs: list[Run]) -> list[str]:
    """The newest runs on the data of the newest: curves on other data say nothing about them."""
    data = {run.name: run.options.data if run.options else None for run in runs}
    return [run.name for run in runs if data[run.name] == data[runs[0].name]][:AT_FIRST]


def _row(run: Run) -> dict[str, Any]:
    metrics = run.metrics or {}
    started, took = times(run)
    return {
        "Run": run.title,
        "State": run.state.status,
        "Started": started,
        "Took": None if took is None else duration_in_words(took),
        "Data": data_title(run.options.data) if run.options else "",
        "Model": model_title(run.options.model.source) if run.options else "",
        "Trained": trained_words(run.plan.train) if run.plan else "",
        "Learning rate": run.plan.lr if run.plan else None,
        "Epochs": f"{run.state.epoch} of {run.state.epochs}",
        **{title: 100 * metrics[key] if metrics else None for key, title in SHOWN.items()},
        "Notes": run.about.note,
    }


def times(run: Run) -> tuple[datetime | None, float | None]:
    """(when it was started, how many seconds it worked so far); None where its files don't tell."""
    config, events = stamp(run.folder.config), stamp(run.folder.events)
    started = datetime.fromtimestamp(config[2] / 1e9) if config else None
    return started, _worked(str(run.folder.events), events) if events else None


@st.cache_data(show_spinner=False, max_entries=500)
def _worked(events: str, stamp: tuple[int, int, int]) -> float | None:
    """Seconds of all phases, those of the processes that a run went on in as well."""
    phases = [event["seconds"] for event in read_events(Path(events)) if event["type"] == "phase"]
    return sum(phases) if phases else None


def trained_words(train: str) -> str:
    """What a plan trains: "classifier only", "last 2 blocks", "all blocks"."""
    if not train.startswith("last-"):
        return {"head": "classifier only", "all": "all blocks"}[train]
    count = int(train.removeprefix("last-"))
    return "last block" if count == 1 else f"last {count} blocks"


def model_title(source: str) -> str:
    """What the sidebar calls a model."""
    entry = registry.find(source)
    return entry.title if entry else source.rsplit("/", 1)[-1]


def _delete(ended: list[str]) -> None:
    if not ended:
        return
    # Its key changes with the runs that are left, so that it closes after a deletion.
    with st.popover("Delete a run", icon=":material/delete:", key=f"delete_of_{len(ended)}"):
        name = st.selectbox("Run to delete", ended, key="run_to_delete")
        st.caption("Deletes its curves, images and weights; the model it made stays in the sidebar.")
        if st.button("Delete", key=f"delete_run_{name}"):  # a second click of a double one must not hit the next run
            delete(name, paths.runs())
            st.rerun()
