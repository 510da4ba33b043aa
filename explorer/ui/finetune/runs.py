"""Every run: which one is shown, all of them in one table and one chart, and their end."""

from typing import Any

import streamlit as st

from explorer import paths
from explorer.models import registry
from explorer.training.curves import COMPARED, CONFIG, compare_figure
from explorer.training.runs.jobs import Run, delete, list_runs
from explorer.ui.address import keep_in_address
from explorer.ui.datasets import data_title
from explorer.ui.finetune.steps import RUN
from explorer.ui.messages import plain
from explorer.ui.scores import SCORES, axis_font

COLUMNS = {title: st.column_config.NumberColumn(format="%.1f%%") for title in SCORES.values()}
AT_FIRST = 4  # runs that are compared before a person chooses


def pick_run() -> Run | None:
    """The run to show; the address names it, so that a reload or another tab shows the same one."""
    runs = {run.name: run for run in list_runs(paths.runs())}
    if not runs:
        return None
    keep_in_address(RUN)
    wanted = st.session_state.get(RUN) or st.query_params.get(RUN)
    if wanted not in (None, *runs):
        st.warning(f"There is no run named {plain(wanted)} any more; here is the newest.")
    st.session_state[RUN] = wanted if wanted in runs else next(iter(runs))
    # Not bound to the address: a bound widget leaves its default out, and the newest run is another one tomorrow.
    name = st.selectbox("Run", list(runs), key=RUN, label_visibility="collapsed", persist_state="session")
    st.query_params[RUN] = name
    return runs[name]


def show_runs() -> None:
    """All runs with their scores, compared in one chart; each can be deleted."""
    runs = list_runs(paths.runs())
    if not runs:
        st.caption("No run yet.")
        return
    st.dataframe([_row(run) for run in runs], hide_index=True, column_config=COLUMNS, placeholder="–", alt="Runs")
    for run in runs:
        if run.damage:
            st.warning(plain(f"{run.name}: {run.damage}"))
    _compare(runs)
    _delete([run.name for run in runs if not run.state.active])


def _compare(runs: list[Run]) -> None:
    names = [run.name for run in runs]
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    compared = left.multiselect("Compare", names, names[:AT_FIRST], key="compared_runs")
    by = right.segmented_control(
        "By validation", list(COMPARED), default="val_loss", key="compared_by",
        format_func=lambda key: COMPARED[key].removeprefix("validation ").capitalize(),
        required=True,
    )  # fmt: skip
    chosen = {run.name: run.events() for run in runs if run.name in compared}
    events = {name: found for name, found in chosen.items() if any(event["type"] == "epoch" for event in found)}
    if events and by:
        figure = compare_figure(events, by)
        for update in (figure.update_xaxes, figure.update_yaxes):
            update(tickfont=axis_font(), title_font=axis_font())
        st.plotly_chart(figure, key="compared_chart", config=CONFIG, alt=f"Runs by {COMPARED[by]}")


def _row(run: Run) -> dict[str, Any]:
    metrics = run.metrics or {}
    return {
        "Run": run.name,
        "State": run.state.status,
        "Data": data_title(run.options.data) if run.options else "",
        "Model": model_title(run.options.model.source) if run.options else "",
        "Trained": trained_words(run.plan.train) if run.plan else "",
        "Epochs": f"{run.state.epoch} of {run.state.epochs}",
        **{title: 100 * metrics[key] if metrics else None for key, title in SCORES.items()},
    }


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
        st.caption("Its curves, images and weights go; the model it made stays in the sidebar.")
        if st.button("Delete", key="delete_run"):
            delete(name, paths.runs())
            st.rerun()
